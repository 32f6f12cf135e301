# SPDX-License-Identifier: Apache-2.0
"""Files that are no files, or not of their format, are refused by name."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import tuning
from octavo.bench import compare
from octavo.compression import read_recipe
from octavo.data.files import read_file
from octavo.data.tokenizer import tokenize
from octavo.io import TensorFile
from octavo.lora import Adapter

if TYPE_CHECKING:
    from collections.abc import Callable


def data(path: Path) -> None:
    read_file(path, "calibration", labelled=True)


READERS: dict[str, Callable[[Path], Any]] = {
    "config.json": lambda path: octavo.models.load(path.parent),
    "model.safetensors": TensorFile,
    "tokenizer.json": lambda path: tokenize(path.parent, ["a"], 8),
    "adapter_config.json": lambda path: Adapter.load(path.parent),
    "recipe.yaml": read_recipe,
    "result.json": compare.read,
    "tuning.json": tuning.read,
    **dict.fromkeys(("data.txt", "data.jsonl", "data.tsv", "data.npz"), data),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    if name.endswith(".yaml"):
        pytest.importorskip("yaml", reason="needs PyYAML")
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match=rf"{name} is a pipe or a device"):
        READERS[name](tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(OSError, match=rf"{name} is a pipe or a device"):
        READERS[name](tmp_path / name)


def npy(array: Any, **header: Any) -> bytes:
    """A .npy file whose header may lie."""
    file = io.BytesIO()
    np.save(file, array)
    if header:
        claimed = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | header
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, claimed)
        file.write(array.tobytes())
    return file.getvalue()


def npz(*members: bytes, damage: Callable[[bytearray], object] = len) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, member in enumerate(members):
            archive.writestr(f"{index}.npy", member)
    content = bytearray(file.getvalue())
    damage(content)
    return bytes(content)


ONES = np.ones((2, 3), np.int64)


def other_method(content: bytearray) -> None:
    for signature, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.find(signature) + place] = 99


def larger(content: bytearray) -> None:
    """Claim 2 GiB in the directory."""
    start = content.find(b"PK\1\2") + 24
    content[start : start + 4] = (1 << 31).to_bytes(4, "little")


BAD_NPZ = {
    "one array": (npy(ONES), "File is not a zip"),
    "damaged": (npz(npy(ONES), damage=lambda c: c.__setitem__(slice(40, 60), bytes(20))), ""),
    "unknown method": (npz(npy(ONES), damage=other_method), "compression method"),
    "unpacks to much": (npz(npy(ONES), damage=larger), "at most 1073741824 bytes of arrays, got 2"),
    "claims rows": (npz(npy(ONES, shape=(1 << 40, 3))), "needs 26388279066624 bytes, has 48"),
    "claims less": (npz(npy(ONES, shape=(2, 2))), "needs 32 bytes, has 48"),
    "negative": (npz(npy(ONES, shape=(-2, -3))), "needs 48 bytes, has 48"),
    "objects": (npz(npy(ONES, descr="|O")), "Object arrays cannot be loaded"),
    "no array": (npz(b"x" * 99), "magic string"),
    "newer": (npz(b"\x93NUMPY\x03\x00" + bytes(99)), "expected version 1.0 or 2.0"),
}


@pytest.mark.parametrize("name", BAD_NPZ)
def test_archives_of_arrays(tmp_path: Path, name: str) -> None:
    content, message = BAD_NPZ[name]
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"data\.npz: not an \.npz file of plain.*{message}"):
        data(tmp_path / "data.npz")


def test_arrays_are_those_that_were_saved(tmp_path: Path) -> None:
    arrays = {"input_ids": np.asfortranarray(ONES), "none": np.ones((0, 3)), "text": np.array("a")}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "data.npz", **arrays)
        found = read_file(tmp_path / "data.npz", "calibration", labelled=False).arrays
        assert found is not None
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


def test_ids_beyond_64_bits(tmp_path: Path) -> None:
    for value in (1 << 63, -(1 << 63) - 1, 10**30):
        (tmp_path / "data.jsonl").write_text(json.dumps({"input_ids": [value]}))
        with pytest.raises(ValueError, match="line 1: input_ids: expected a list of integers"):
            data(tmp_path / "data.jsonl")


BAD_TOKENIZERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "not one": lambda content: content.clear(),
    "an error while it cuts": lambda content: content["model"].update(unk_token="nowhere"),
    "a panic while it is read": lambda content: content.update(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    ),
    "a panic while it cuts": lambda content: content.update(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}
    ),
}


@pytest.mark.parametrize("name", BAD_TOKENIZERS)
def test_tokenizers(tmp_path: Path, name: str) -> None:
    pytest.importorskip("tokenizers", reason="needs tokenizers")
    model_files.write_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    BAD_TOKENIZERS[name](content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer: "):
        tokenize(tmp_path, ["strange words"], 8)
