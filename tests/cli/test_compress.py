# SPDX-License-Identifier: Apache-2.0
"""``octavo compress``: what MODEL may be, and outputs that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import decoder_gguf
import model_files
import octavo
import octavo.lora

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


def artifact_of(folder: Path, place: Path) -> dict[str, bytes]:
    octavo.compress(folder).save(place)
    return contents(place)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_file_with_its_config_beside_it(folder: Path, tmp_path: Path, run: Run) -> None:
    expected = artifact_of(folder, tmp_path / "expected")
    named = folder / "weights of mine.safetensors"
    (folder / "model.safetensors").rename(named)
    code, out, err = run("compress", named, tmp_path / "int8", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["bytes_before"] == named.stat().st_size
    assert contents(tmp_path / "int8") == expected
    assert "tokenizer.json" in expected


@pytest.mark.filterwarnings("default")
def test_what_is_left_out_is_told_in_a_line(tmp_path: Path, run: Run) -> None:
    tensors = model_files.random_tensors(model_files.BERT) | {"cls.bias": np.zeros(2, np.float32)}
    folder = model_files.write_folder(tmp_path / "float", model_files.BERT, tensors)
    code, _, err = run("compress", folder, tmp_path / "int8")
    place = "left out, octavo has no place for it: 'cls' (1)"
    assert (code, err) == (0, f"octavo: warning: {folder}: {place}\n")


def test_a_file_with_config(folder: Path, tmp_path: Path, run: Run) -> None:
    expected = artifact_of(folder, tmp_path / "expected")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "model.safetensors", bare / "x.safetensors")
    words = ["compress", bare / "x.safetensors", tmp_path / "int8"]
    code, _, err = run(*words)
    assert code == 1
    assert "no config.json beside it; name the model's with --config FILE" in err
    assert run(*words, "--config", folder / "config.json")[0] == 0
    del expected["tokenizer.json"]  # there is none beside the file
    assert contents(tmp_path / "int8") == expected


def test_config_goes_before_the_folders_own(folder: Path, tmp_path: Path, run: Run) -> None:
    right = tmp_path / "right.json"
    (folder / "config.json").rename(right)
    (folder / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    assert run("compress", folder, tmp_path / "int8")[0] == 1
    assert run("compress", folder, tmp_path / "int8", "--config", right)[0] == 0
    assert (tmp_path / "int8" / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model-00001-of-00002.safetensors", "is one part of a model; name its folder"),
        ("pytorch_model.bin", "expected a folder, a .safetensors or .gguf file"),
        ("notes.txt", "expected a folder, a .safetensors or .gguf file"),
        ("damaged.safetensors", "model.safetensors"),
    ],
)
def test_other_files(folder: Path, tmp_path: Path, run: Run, name: str, message: str) -> None:
    (folder / name).write_bytes(b"not weights")
    code, out, err = run("compress", folder / name, tmp_path / "int8")
    assert (code, out) == (1, "")
    assert message in err
    assert not (tmp_path / "int8").exists()


def test_options_that_do_not_fit(folder: Path, tmp_path: Path, run: Run) -> None:
    words = ["compress", folder, tmp_path / "int8"]
    code, _, err = run(*words, "--config", tmp_path / "no.json")
    assert code == 1
    assert "--config: no such file" in err
    code, _, err = run(*words, "--revision", "main")
    assert code == 1
    assert "--revision is for a model of the hub" in err
    assert not (tmp_path / "int8").exists()


def test_the_file_of_the_output_is_not_lost(folder: Path, run: Run) -> None:
    before = contents(folder)
    code, _, err = run("compress", folder / "model.safetensors", folder, "--overwrite")
    assert code == 1
    assert "OUT is the model to compress" in err
    assert contents(folder) == before


def test_a_float_model_is_replaced_only_when_asked(folder: Path, tmp_path: Path, run: Run) -> None:
    other = model_files.write_random(tmp_path / "other")
    before = contents(other)
    code, _, err = run("compress", folder, other)
    assert code == 1
    assert "holds a float model; --overwrite replaces it" in err
    assert contents(other) == before
    assert run("compress", folder, other, "--overwrite")[0] == 0
    assert contents(other) == artifact_of(folder, tmp_path / "expected")


def test_a_model_of_another_quantization_is_replaced_only_when_asked(
    folder: Path, tmp_path: Path, run: Run
) -> None:
    other = model_files.write_random(tmp_path / "other")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "hqq", "bits": 4}
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    before = contents(other)
    code, _, err = run("compress", folder, other)
    assert code == 1
    assert "holds a differently quantized model; --overwrite replaces it" in err
    assert contents(other) == before
    code, _, err = run("compress", other, tmp_path / "int8")
    assert code == 1
    assert "quant_method is 'hqq'" in err
    assert "name the folder of the float model instead" in err
    assert run("compress", folder, other, "--overwrite")[0] == 0


def test_a_read_only_output_is_left(folder: Path, tmp_path: Path, run: Run) -> None:
    assert run("compress", folder, tmp_path / "int8")[0] == 0
    before = contents(tmp_path / "int8")
    (tmp_path / "int8").chmod(0o555)
    code, _, err = run("compress", folder, tmp_path / "int8")
    (tmp_path / "int8").chmod(0o755)
    assert code == 1
    assert "is read-only; name another folder" in err
    assert contents(tmp_path / "int8") == before


def test_a_place_where_nothing_can_be_written(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("/proc is a place where not even root can make a folder")

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the work began before the output was checked")

    monkeypatch.setattr("octavo.compression.compress", never)
    code, out, err = run("compress", folder, "/proc/octavo/int8")
    assert (code, out) == (1, "")
    assert "OUT: cannot write in /proc" in err


def test_no_hub_package(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, err = run("compress", "owner/name", tmp_path / "int8")
    assert code == 1
    assert "no such folder: owner/name" in err
    assert "pip install huggingface_hub, or download it elsewhere" in err


class GatedRepoError(Exception):
    pass


class RepositoryNotFoundError(Exception):
    pass


class RevisionNotFoundError(Exception):
    pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for huggingface_hub; tests set what `snapshot_download` does."""
    module, utils = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.utils")
    errors = ModuleType("huggingface_hub.errors")
    for kind in (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError):
        setattr(errors, kind.__name__, kind)
    utils.disable_progress_bars = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", utils)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return module


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RepositoryNotFoundError("401"), "no such model on the hub"),
        (GatedRepoError("403"), "asks to accept this model's terms"),
        (RevisionNotFoundError("404"), "the hub has no revision 'v9'"),
        (ConnectionError("no route\nto host"), "the hub cannot be reached (no route). Connect"),
    ],
)
def test_hub_failures(hub: Any, tmp_path: Path, run: Run, error: Exception, message: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    hub.snapshot_download = fail
    words = ["compress", "owner/name", tmp_path / "int8", "--revision", "v9"]
    code, _, err = run(*words)
    assert code == 1
    assert "octavo: error: owner/name: " in err
    assert message in err
    assert err.count("\n") == 1


def test_hub_model(hub: Any, folder: Path, tmp_path: Path, run: Run) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(name: str, revision: str | None, allow_patterns: list[str], **_: Any) -> str:
        asked.append((name, revision))
        assert "model*.safetensors" in allow_patterns
        assert "pytorch_model*.bin" not in allow_patterns
        return str(folder)

    hub.snapshot_download = download
    words = ["compress", "owner/name", tmp_path / "int8", "--revision", "v1", "--json"]
    code, out, _ = run(*words)
    assert code == 0
    assert json.loads(out)["model"] == "owner/name"
    assert asked == [("owner/name", "v1")]
    assert contents(tmp_path / "int8") == artifact_of(folder, tmp_path / "expected")
    octavo.models.load("owner/name", revision="v2", token=False)
    assert asked[1:] == [("owner/name", "v2")]
    with pytest.raises(ValueError, match=r"revision: expected none, .* is not a hub's model"):
        octavo.models.load(str(folder), revision="v1")


def test_the_hubs_own_cache_offline(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "home" / "hub" / "models--owner--name"
    (cached / "snapshots").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit, encoding="utf-8")
    folder.rename(cached / "snapshots" / commit)
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    settings["HF_HUB_CACHE"] = str(tmp_path / "home" / "hub")

    def compress(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "octavo", "compress", name, str(tmp_path / "int8")],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    done = compress("owner/name")
    assert done.returncode == 0, done.stderr
    assert octavo.models.load(tmp_path / "int8").encode([[1, 2, 3]]).shape == (1, 32)
    done = compress("owner/other")
    assert done.returncode == 1
    assert "the hub cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_adapter_is_merged_first(folder: Path, tmp_path: Path, run: Run) -> None:
    side = octavo.lora.LowRank(np.ones((2, 32), np.float32), np.ones((32, 2), np.float32), 0.5)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 1}
    name = "encoder.layer.1.attention.self.value"
    adapter = octavo.lora.Adapter(config, {name: side})
    adapter.save(tmp_path / "adapter")
    merged = octavo.lora.merge(octavo.models.load(folder), adapter)
    octavo.compress(merged).save(tmp_path / "expected")
    words = ("compress", folder, tmp_path / "int8", "--adapter", tmp_path / "adapter", "--json")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert json.loads(out)["adapter"] == str(tmp_path / "adapter")
    assert contents(tmp_path / "int8") == contents(tmp_path / "expected")
    wrong = octavo.lora.Adapter(config, {"encoder.layer.9.attention.self.value": side})
    wrong.save(tmp_path / "wrong")
    code, _, err = run(*words[:2], tmp_path / "no", "--adapter", tmp_path / "wrong")
    assert code == 1
    assert "adapter of another base: it changes a linear layer" in err
    assert not (tmp_path / "no").exists()


def test_adapter_of_a_decoder(tmp_path: Path, run: Run) -> None:
    config = {**decoder_files.LLAMA, "rms_norm_eps": float(np.float32(1e-6))}
    model = decoder_files.loaded(tmp_path / "folder", **config)
    decoder_gguf.write(tmp_path / "file.gguf", config)
    adapter = decoder_files.adapter(model)
    adapter.save(tmp_path / "adapter")
    wanted = octavo.compress(octavo.lora.merge(model, adapter))([5, 6, 7])
    for name in ("folder", "file.gguf"):
        words = ("compress", tmp_path / name, tmp_path / "out", "--adapter", tmp_path / "adapter")
        assert run(*words, "--overwrite")[0] == 0
        np.testing.assert_array_equal(octavo.models.load(tmp_path / "out")([5, 6, 7]), wanted)


def test_a_gguf_file(tmp_path: Path, run: Run) -> None:
    file = decoder_gguf.write(tmp_path / "model.gguf", decoder_files.LLAMA)
    code, out, err = run("compress", file, tmp_path / "out", "--recipe", "int8", "--json")
    result = json.loads(out)
    assert (code, err, result["layers"]) == (0, "", 20)
    tensors = decoder_files.random_tensors(decoder_files.LLAMA)
    assert result["bytes_before"] == sum(values.nbytes for values in tensors.values())
    ids = np.arange(3, 23)
    small = octavo.models.load(tmp_path / "out")
    np.testing.assert_array_equal(small(ids), octavo.models.load(file)(ids))
    other = tmp_path / "out" / "config.json"
    code, _, err = run("compress", file, tmp_path / "again", "--config", other)
    assert code == 1
    assert "--config: expected none with a GGUF file" in err
