# SPDX-License-Identifier: Apache-2.0
"""Models and adapters are of one save, while others save into the same place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.cli.sources import model_folder
from octavo.io import Checkpoint
from octavo.io.safetensors import TensorFile
from octavo.lora import Adapter, LowRank

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from octavo.models.encoder import Encoder

IDS = [[2, 5, 6, 7, 3]]
TEXT = ["the a and", "of ."]
needs_posix = pytest.mark.skipif(os.name != "posix", reason="open files cannot be replaced here")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Encoder, Encoder]:
    """Two models whose files fit each other: config, weights and tokenizer differ."""
    for seed, act in enumerate(("gelu", "relu")):
        folder = tmp_path / act
        config = model_files.BERT | {"hidden_act": act}
        model_files.write_folder(folder, config, model_files.random_tensors(config, seed))
        model_files.write_tokenizer(folder)
    path = tmp_path / "relu" / "tokenizer.json"
    path.write_text(path.read_text().replace('"the": 2, "a": 3', '"the": 3, "a": 2'))
    return octavo.models.load(tmp_path / "gelu"), octavo.models.load(tmp_path / "relu")


def after_json(monkeypatch: pytest.MonkeyPatch, save: Callable[[], None]) -> None:
    """Call `save` once, as soon as a JSON file was read."""
    read, done = json.loads, []

    def loads(*args: Any, **options: Any) -> Any:
        value = read(*args, **options)
        if not done:
            done.append(True)
            save()
        return value

    monkeypatch.setattr(json, "loads", loads)


def after_opening(monkeypatch: pytest.MonkeyPatch, save: Callable[[], None]) -> None:
    """Call `save` once, as soon as a file of tensors was opened."""
    make, done = TensorFile.__init__, []

    def opened(*args: Any, **options: Any) -> None:
        make(*args, **options)
        if not done:
            done.append(True)
            save()

    monkeypatch.setattr(TensorFile, "__init__", opened)


MOMENTS = [after_json, pytest.param(after_opening, marks=needs_posix)]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("recipe", [None, "int8", {"quantize": {"dtype": "int8"}, "store": "zstd"}])
def test_a_save_while_a_model_is_loaded(
    tmp_path: Path,
    pair: tuple[Encoder, Encoder],
    monkeypatch: pytest.MonkeyPatch,
    moment: Any,
    recipe: Any,
) -> None:
    if recipe is not None:
        pair = octavo.compress(pair[0], recipe), octavo.compress(pair[1], recipe)
    one, other = pair
    one.save(tmp_path / "out")
    moment(monkeypatch, lambda: other.save(tmp_path / "out"))
    loaded = octavo.models.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded(IDS), other(IDS))
    assert loaded.config.activation == "relu"
    assert loaded.files == other.files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gelu", "out", "relu"]


def test_a_save_while_a_model_is_compressed(
    tmp_path: Path, pair: tuple[Encoder, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair[0].save(tmp_path / "out")
    after_json(monkeypatch, lambda: pair[1].save(tmp_path / "out"))
    made = octavo.compress(tmp_path / "out")
    np.testing.assert_array_equal(made(IDS), octavo.compress(pair[1])(IDS))


@needs_posix
def test_a_save_between_layers_does_not_matter(
    tmp_path: Path, pair: tuple[Encoder, Encoder]
) -> None:
    pair[0].save(tmp_path / "out")
    made = octavo.compress(tmp_path / "out", on_layer=lambda name: pair[1].save(tmp_path / "out"))
    np.testing.assert_array_equal(made(IDS), octavo.compress(pair[0])(IDS))


@needs_posix
def test_the_tokenizer_is_that_of_the_model(tmp_path: Path, pair: tuple[Encoder, Encoder]) -> None:
    pytest.importorskip("tokenizers", reason="needs tokenizers")
    pair[0].save(tmp_path / "out")
    loaded = octavo.models.load(tmp_path / "out")
    pair[1].save(tmp_path / "out")
    far = octavo.evaluation.evaluate(loaded, TEXT, reference=pair[0])
    assert far.cosine_min == pytest.approx(1, abs=1e-6)
    loaded.save(tmp_path / "copy")
    wanted = (tmp_path / "gelu" / "tokenizer.json").read_bytes()
    assert (tmp_path / "copy" / "tokenizer.json").read_bytes() == wanted


def shards(folder: Path, value: float) -> None:
    """Save two shards and an index in one step."""
    import safetensors.numpy

    from octavo.io import replaced_folder

    with replaced_folder(folder) as fresh:
        names = {}
        for index, name in enumerate("ab", start=1):
            file = f"model-0000{index}-of-00002.safetensors"
            safetensors.numpy.save_file({name: np.full(3, value, np.float32)}, fresh / file)
            names[name] = file
        for file, content in (
            ("model.safetensors.index.json", {"weight_map": names}),
            ("config.json", {"model_type": "x"}),
        ):
            (fresh / file).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_save_between_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: Any
) -> None:
    shards(tmp_path / "out", 1)
    moment(monkeypatch, lambda: shards(tmp_path / "out", 2))
    found = Checkpoint(tmp_path / "out")
    assert [float(found.float32(name)[0]) for name in "ab"] == [2, 2]


def adapter(alpha: int) -> Adapter:
    side = LowRank(np.full((2, 8), alpha, np.float32), np.ones((4, 2), np.float32), alpha / 2)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": alpha, "target_modules": ["query"]}
    return Adapter(config, {"encoder.query": side})


def test_a_save_while_an_adapter_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter(4).save(tmp_path / "out")
    after_json(monkeypatch, lambda: adapter(8).save(tmp_path / "out"))
    loaded = Adapter.load(tmp_path / "out")
    assert (loaded.config["lora_alpha"], loaded.layers["encoder.query"].a[0, 0]) == (8, 8)


@needs_posix
def test_a_save_while_the_command_line_gathers_files(
    tmp_path: Path, pair: tuple[Encoder, Encoder]
) -> None:
    pair[0].save(tmp_path / "out")
    with model_folder(str(tmp_path / "out" / "model.safetensors")) as folder:
        if not (folder / "model.safetensors").readlink().is_relative_to("/proc"):
            pytest.skip("an open file has no name here")
        pair[1].save(tmp_path / "out")
        loaded = octavo.models.load(folder)
    np.testing.assert_array_equal(loaded(IDS), pair[0](IDS))
    assert loaded.files == pair[0].files


SAVES = """
import sys, time, octavo
first, second, out = sys.argv[1:]
models = [octavo.models.load(first), octavo.models.load(second)]
end = time.monotonic() + 1.5
while time.monotonic() < end:
    for model in models:
        model.save(out)
"""


def loads_while(busy: Callable[[], bool], folder: Path, pair: tuple[Encoder, Encoder]) -> None:
    """Load again and again: each time one of the two models, whole."""
    names = {(model(IDS).tobytes(), *model.files.values()): n for n, model in enumerate(pair)}
    found: Counter[int | None] = Counter()
    while busy():
        loaded = octavo.models.load(folder)
        found[names.get((loaded(IDS).tobytes(), *loaded.files.values()))] += 1
    assert None not in found
    assert sum(found.values()) > 3


@needs_posix
def test_a_process_that_saves_all_the_time(tmp_path: Path, pair: tuple[Encoder, Encoder]) -> None:
    out = tmp_path / "out"
    pair[0].save(out)
    places = [str(tmp_path / "gelu"), str(tmp_path / "relu"), str(out)]
    with subprocess.Popen([sys.executable, "-c", SAVES, *places]) as process:
        loads_while(lambda: process.poll() is None, out, pair)
    assert process.returncode == 0


@needs_posix
def test_a_thread_that_saves_all_the_time(tmp_path: Path, pair: tuple[Encoder, Encoder]) -> None:
    out = tmp_path / "out"
    pair[0].save(out)

    def save() -> None:
        for _ in range(25):
            for model in pair:
                model.save(out)

    thread = threading.Thread(target=save)
    thread.start()
    loads_while(thread.is_alive, out, pair)
    thread.join()
