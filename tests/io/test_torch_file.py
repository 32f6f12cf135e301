# SPDX-License-Identifier: Apache-2.0
"""Files of torch.save: the tensors in them, and what a pickle may not ask for."""

from __future__ import annotations

import collections
import contextlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.io.torch_file import TorchFile

torch = pytest.importorskip("torch", reason="it writes the files")

FORMS = {"zip": True, "one after another": False}


def saved(path: Path, content: Any, form: str = "zip") -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=FORMS[form])
    return path


@pytest.mark.parametrize("form", FORMS)
def test_tensors(tmp_path: Path, form: str) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = collections.OrderedDict(
        plain=whole,
        parameter=torch.nn.Parameter(whole + 1),
        transposed=whole.t(),
        part=whole[1:3, 2:5],
        half=whole.half(),
        brain=whole.bfloat16(),
        long=whole.long(),
        flags=whole > 3,
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
    )
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    file = TorchFile(saved(tmp_path / "x.bin", state, form))
    assert list(file) == list(state)
    assert "other" not in file
    for name, tensor in state.items():
        wanted = tensor.detach()
        wanted = wanted.view(torch.uint16) if wanted.dtype == torch.bfloat16 else wanted
        found = file.array(name)
        assert found.dtype == wanted.numpy().dtype
        np.testing.assert_array_equal(found, wanted.numpy())
        assert file.tensors[name].shape == tuple(tensor.shape)
    np.testing.assert_array_equal(file.array("plain", (1, 3)), whole[1:3].numpy())
    with pytest.raises(ValueError, match="no tensor named 'other'"):
        file.array("other")


@pytest.mark.parametrize("form", FORMS)
def test_models(tmp_path: Path, form: str) -> None:
    plain = model_files.write_random(tmp_path / "plain")
    tensors = octavo.io.TensorFile(plain / "model.safetensors")
    state = {name: torch.tensor(tensors.array(name)) for name in tensors}
    (plain / "model.safetensors").rename(tmp_path / "kept.safetensors")
    saved(plain / "pytorch_model.bin", state, form)
    model = octavo.models.load(plain)
    octavo.compress(plain).save(tmp_path / "small")
    assert not (tmp_path / "small" / "pytorch_model.bin").exists()
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    (sharded / "config.json").write_bytes((plain / "config.json").read_bytes())
    index = {}
    for part in range(2):
        shard = f"pytorch_model-0000{part + 1}-of-00002.bin"
        names = list(state)[part::2]
        saved(sharded / shard, {name: state[name] for name in names}, form)
        index |= dict.fromkeys(names, shard)
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    (tmp_path / "kept.safetensors").rename(plain / "model.safetensors")
    wanted = octavo.models.load(plain)(*model_files.batch())
    for other in (model, octavo.models.load(sharded)):
        np.testing.assert_array_equal(other(*model_files.batch()), wanted)


class Attack:
    """Runs a command where a pickle is believed."""

    def __reduce__(self) -> Any:
        return (print, ("the pickle was run",))


REFUSED: dict[str, tuple[Any, str]] = {
    "a program": ({"x": Attack()}, r"it asks for \w+\.print, which is not read here"),
    "a module": (torch.nn.Linear(2, 2), "the instruction NEWOBJ is not read"),
    "a list": ([torch.zeros(2)], "expected a dict, got list"),
    "a number": ({"x": 3}, "'x': expected a tensor, got int"),
    "a dict in a dict": ({"x": {"y": torch.zeros(2)}}, "'x': expected a tensor, got dict"),
    "a complex tensor": ({"x": torch.zeros(2, dtype=torch.complex64)}, "ComplexFloatStorage"),
    "a sparse tensor": ({"x": torch.eye(2).to_sparse()}, "_rebuild_sparse_tensor"),
    "a tensor on top of itself": ({"x": torch.zeros(1).expand(1 << 40)}, "larger than its 1 val"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("form", FORMS)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, form: str) -> None:
    content, message = REFUSED[name]
    path = saved(tmp_path / "x.bin", content, form)
    with pytest.raises(ValueError, match=rf"x\.bin: not tensors by their names: .*{message}"):
        TorchFile(path)
    assert capsys.readouterr() == ("", "")


def archive(path: Path, **changes: Any) -> Path:
    """A zip of torch.save with members changed (bytes), left out (None) or packed."""
    stream = io.BytesIO()
    torch.save({"x": torch.arange(4.0)}, stream)
    with zipfile.ZipFile(stream) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.infolist():
            name = item.filename.partition("/")[2].replace(".", "_").replace("/", "_")
            content = changes.get(name, source.read(item))
            if content is not None:
                packed = changes.get("packed") == name
                target.writestr(
                    item.filename, content, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
                )
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"byteorder": b"big"}, "least byte first"),
        ({"data_pkl": None}, r"expected one member data\.pkl"),
        ({"data_pkl": b"\x80\x02."}, "pop from empty|stack"),
        ({"data_pkl": b"\x80\x02}r\xff\xff\xff\x7f."}, "it keeps value 2147483647 before"),
        ({"data_pkl": b"\x80\x05\x96\x00\x00\x00\x00\x01\x00\x00\x00."}, "BYTEARRAY8|bytes"),
        ({"data_pkl": b"\x80\x02X\xff\xff\xff\x7f."}, "expected 2147483647 bytes"),
        ({"packed": "data_pkl"}, "stored as it is"),
        ({"packed": "data_0"}, "stored as it is"),
        ({"data_0": b"1234"}, "has not the 16 bytes it should"),
        ({"data_0": None}, "expected one member data/0"),
    ],
)
def test_damaged_archives(tmp_path: Path, changes: Any, message: str) -> None:
    path = archive(tmp_path / "x.bin", **changes)
    with pytest.raises(ValueError, match=rf"x\.bin: not tensors .*({message})"):
        TorchFile(path).array("x")


def test_any_byte_may_be_wrong(tmp_path: Path, rng: np.random.Generator) -> None:
    """Each change is refused, or changes numbers alone."""
    for form in FORMS:
        whole = saved(tmp_path / "x.bin", {"x": torch.arange(4.0), "y": torch.ones(3)}, form)
        content = whole.read_bytes()
        for _ in range(300):
            changed = bytearray(content)
            for place in rng.integers(0, len(content), rng.integers(1, 4)):
                changed[place] = rng.integers(256)
            cut = rng.integers(1, len(content)) if rng.random() < 0.2 else len(content)
            whole.write_bytes(changed[:cut])
            with contextlib.suppress(ValueError, OSError):
                file = TorchFile(whole)
                for name in file:
                    assert file.array(name).nbytes < 1000


def test_what_is_pickled_is_not_called(tmp_path: Path) -> None:
    """Also where names are put together from parts, and through the registry of extensions."""
    for code in (b"cos\nsystem\n.", b"\x8c\x02os\x8c\x06system\x93.", b"\x82\x01."):
        path = tmp_path / "x.bin"
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + code)
        with pytest.raises(ValueError, match="not tensors by their names"):
            TorchFile(path)
