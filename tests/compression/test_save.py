# SPDX-License-Identifier: Apache-2.0
"""Saving is all or nothing, and destroys nothing that is not a saved model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.io import replaced_folder, replacing
from octavo.models.save import save_model

if TYPE_CHECKING:
    from octavo.models import Encoder


@pytest.fixture
def small(tmp_path: Path) -> Encoder:
    folder = model_files.write_random(tmp_path / "float")
    model_files.write_tokenizer(folder)
    (folder / "vocab.txt").write_text("[PAD]\n", encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}", encoding="utf-8")
    (folder / "notes.txt").write_text("not part of the model", encoding="utf-8")
    return octavo.compress(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def only(parent: Path, *names: str) -> None:
    """Nothing else was left behind."""
    assert sorted(path.name for path in parent.iterdir()) == sorted(names)


def test_tokenizer_files_come_along(small: Encoder, tmp_path: Path) -> None:
    small.save(tmp_path / "int8")
    saved, source = contents(tmp_path / "int8"), contents(tmp_path / "float")
    names = ["tokenizer.json", "vocab.txt", str(Path("1_Pooling") / "config.json")]
    assert sorted(saved) == sorted(["config.json", "model.safetensors", *names])
    assert all(saved[name] == source[name] for name in names)
    only(tmp_path, "float", "int8")


def test_new_empty_and_nested_folders(small: Encoder, tmp_path: Path) -> None:
    small.save(tmp_path / "a" / "b" / "c")
    (tmp_path / "empty").mkdir()
    small.save(tmp_path / "empty")
    assert contents(tmp_path / "a" / "b" / "c") == contents(tmp_path / "empty")


def test_replaces_a_saved_model(small: Encoder, tmp_path: Path) -> None:
    octavo.models.load(tmp_path / "float").save(tmp_path / "out")
    small.save(tmp_path / "out")
    octavo.models.load(tmp_path / "out").save(tmp_path / "out")
    small.save(tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    only(tmp_path, "float", "out", "fresh")


def test_replaces_without_the_exchange_call(
    small: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "_swap_names", lambda first, second: False)
    small.save(tmp_path / "out")
    first = contents(tmp_path / "out")
    small.save(tmp_path / "out")
    assert contents(tmp_path / "out") == first
    only(tmp_path, "float", "out")


def test_a_failing_rename_is_undone(
    small: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "_swap_names", lambda first, second: False)
    small.save(tmp_path / "out")
    first = contents(tmp_path / "out")
    rename = Path.rename

    def failing(self: Path, target: Any) -> Path:
        if self.suffix == ".tmp" and Path(target).name == "out":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"):
        small.save(tmp_path / "out")
    assert contents(tmp_path / "out") == first
    only(tmp_path, "float", "out")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_save_leaves_the_old_one(
    small: Encoder, tmp_path: Path, error: BaseException, existing: bool
) -> None:
    out = tmp_path / "out"
    if existing:
        octavo.models.load(tmp_path / "float").save(out)
    before = contents(out)
    written = []

    def fail_late(name: str) -> None:
        written.append(name)
        if len(written) == 20:
            raise error

    with pytest.raises(type(error)):
        save_model(small, out, on_tensor=fail_late)
    assert contents(out) == before
    only(tmp_path, "float", *(["out"] if existing else []))


def test_a_vanished_tokenizer_is_saved(small: Encoder, tmp_path: Path) -> None:
    content = (tmp_path / "float" / "vocab.txt").read_bytes()
    (tmp_path / "float" / "vocab.txt").unlink()
    small.save(tmp_path / "out")
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == content


KILLED = """
import sys, time
import octavo
from octavo.models.save import save_model
model = octavo.models.load(sys.argv[1])
def wait(name):
    print(name, flush=True)
    time.sleep(0.05)
save_model(model, sys.argv[2], on_tensor=wait)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a signal that cannot be caught")
def test_a_kill_leaves_the_old_one(small: Encoder, tmp_path: Path) -> None:
    small.save(tmp_path / "out")
    before = contents(tmp_path / "out")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "float"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert contents(tmp_path / "out") == before
    octavo.models.load(tmp_path / "out")
    assert len(list(tmp_path.glob(".out.*.tmp"))) == 1
    small.save(tmp_path / "out")
    only(tmp_path, "float", "out")


def test_what_is_not_a_saved_model_stays(small: Encoder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(FileExistsError, match="other is not empty and holds no model"):
        small.save(other)
    (other / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileExistsError, match="holds no model"):
        small.save(other)
    (other / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"holds more than a saved model \(thesis.txt\)"):
        small.save(other)
    (other / "thesis.txt").rename(tmp_path / "thesis.txt")
    (other / "data").mkdir()
    with pytest.raises(FileExistsError, match=r"\(data\)"):
        small.save(other)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(FileExistsError, match="file exists and is not a folder"):
        small.save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_links_are_left_alone(small: Encoder, tmp_path: Path) -> None:
    small.save(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(FileExistsError, match="link exists and is not a folder"):
        small.save(tmp_path / "link")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="dangling exists"):
        small.save(tmp_path / "dangling")


def test_layers_that_a_file_cannot_hold(small: Encoder, tmp_path: Path) -> None:
    layer = small.encoder.layer[0]
    old = layer.intermediate.dense
    codes, scale, bias = old.weight_codes, old.weight_scale, old.bias
    for bad, error, message in (
        (octavo.Linear.from_quantized(codes, scale, bias), ValueError, "has activation 'none'"),
        (
            octavo.Linear.from_quantized(codes[:-1], scale[:-1], activation="gelu"),
            ValueError,
            r"has shape \(47, 32\), the model's config asks \(48, 32\)",
        ),
        (
            octavo.Linear.from_quantized(codes, scale, activation="gelu", output_scale=0.1),
            ValueError,
            "gives int8 output",
        ),
        (octavo.nn.Activation("gelu"), TypeError, "is a Activation; only a Linear can be saved"),
    ):
        layer.intermediate.dense = bad
        with pytest.raises(error, match=f"'encoder.layer.0.intermediate.dense' {message}"):
            small.save(tmp_path / "out")
    layer.intermediate.dense = old
    norm = layer.output.LayerNorm
    layer.output.LayerNorm = octavo.nn.LayerNorm(norm.weight, norm.bias, eps=0.5)
    with pytest.raises(ValueError, match=r"'encoder.layer.0.output.LayerNorm' has eps 0.5"):
        small.save(tmp_path / "out")
    layer.output.LayerNorm = norm
    layer.attention.self.extra = octavo.nn.FloatLinear(np.eye(3, dtype=np.float32))
    with pytest.raises(TypeError, match=r"'encoder.layer.0.attention.self.extra' is not part of"):
        small.save(tmp_path / "out")
    only(tmp_path, "float")


def test_a_missing_bias_is_stored_as_zeros(small: Encoder, tmp_path: Path) -> None:
    old = small.pooler.dense
    small.pooler.dense = octavo.Linear.from_quantized(
        old.weight_codes, old.weight_scale, activation="tanh"
    )
    small.save(tmp_path / "out")
    assert not octavo.models.load(tmp_path / "out").pooler.dense.bias.any()


def test_replaced_folder_by_hand(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "x") as fresh:
        (fresh / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
        assert not (tmp_path / "x").exists()

    def fail() -> None:
        with replaced_folder(tmp_path / "x") as fresh:
            (fresh / "config.json").write_text("half", encoding="utf-8")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert contents(tmp_path / "x") == {"config.json": b'{"model_type": "bert"}'}
    only(tmp_path, "x")


@pytest.mark.skipif(os.name != "posix", reason="rights work differently elsewhere")
def test_read_only_parent(small: Encoder, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    parent = tmp_path / "locked"
    parent.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        small.save(parent / "out")
