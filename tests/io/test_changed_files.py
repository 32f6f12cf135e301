# SPDX-License-Identifier: Apache-2.0
"""Files that change while a model is read from them, or after: it keeps its numbers, or says so."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

import octavo
from octavo.io import TensorFile, TensorPlan, file_bytes, write_tensor_file
from octavo.nn.weights import FloatWeight

pytest.importorskip("safetensors", reason="folders are written with it")
import model_files

IDS = np.array([[2, 9, 17, 33, 5, 3]])


def shorter(path: Path) -> None:
    os.truncate(path, 4096)


def other(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))


CHANGES = pytest.mark.parametrize("change", [shorter, other])


@CHANGES
@pytest.mark.parametrize("recipe", [None, "int8", "fp16", "sparse50-int8"])
def test_a_loaded_model_keeps_its_numbers(
    tmp_path: Path, change: object, recipe: str | None
) -> None:
    folder = model_files.write_random(tmp_path / "float")
    if recipe is not None:
        octavo.compress(folder, recipe).save(tmp_path / "made")
        folder = tmp_path / "made"
    model = octavo.models.load(folder)
    before = model(IDS)
    change(folder / "model.safetensors")
    np.testing.assert_array_equal(model(IDS), before)


@CHANGES
def test_a_change_while_it_is_read_is_noticed(tmp_path: Path, change: object) -> None:
    """Also one that leaves the size as it was."""
    path = tmp_path / "model.safetensors"
    value = np.arange(8192, dtype=np.float32).reshape(64, 128)
    write_tensor_file(path, [TensorPlan("x", value.dtype, value.shape, lambda: value)])
    os.utime(path, (0, 0))
    file = TensorFile(path)
    np.testing.assert_array_equal(file.array("x", (10, 20)), value[10:20])
    change(path)
    for rows in (None, (60, 64)):
        with pytest.raises(OSError, match=r"model\.safetensors: was changed while it was read"):
            file.array("x", rows)


def test_where_files_cannot_be_read_at_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the module is run once more, without the call for it."""
    monkeypatch.delattr(os, "preadv", raising=False)
    spec = importlib.util.spec_from_file_location("again", str(file_bytes.__file__))
    assert spec is not None
    again = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(again)
    content = bytes(range(256)) * 32
    (tmp_path / "x").write_bytes(content)
    file = again.FileBytes(tmp_path / "x", (tmp_path / "x").open("rb"))
    for begin, end in ((8000, 8192), (0, 100)):
        found = bytearray(end - begin)
        file.fill(memoryview(found), begin)
        assert found == content[begin:end]


def test_compressing_reads_a_table_by_parts_and_keeps_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model_files.write_random(tmp_path / "float")
    whole, read = octavo.models.load(folder), []
    real = TensorFile.array
    monkeypatch.setattr(
        TensorFile,
        "array",
        lambda file, name, rows=None: (read.append((name, rows)), real(file, name, rows))[1],
    )
    with monkeypatch.context() as small:
        small.setattr("octavo.compression.int8._BLOCK_ELEMENTS", 32 * 30)
        int8 = octavo.compress(folder, "int8")
    name = "embeddings.word_embeddings.weight"
    parts = [rows for found, rows in read if found.endswith(name) and rows != (0, 0)]
    assert parts == [(0, 30), (30, 60), (60, 90), (90, 120)]
    np.testing.assert_array_equal(int8(IDS), octavo.compress(whole, "int8")(IDS))
    if Path("/proc/self/fd").is_dir():
        opened = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
        assert not any(path.is_relative_to(folder) for path in opened)
    # What stays float is read at once, though a transform only passed it on.
    passed = octavo.models.load(folder, rows=1)
    (folder / "model.safetensors").unlink()
    assert isinstance(passed.embeddings.word_embeddings.held_weight, FloatWeight)
    read.clear()
    np.testing.assert_array_equal(passed(IDS), whole(IDS))
    assert read == []
