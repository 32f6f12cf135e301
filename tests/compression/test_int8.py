# SPDX-License-Identifier: Apache-2.0
"""Compression: what the int8 recipe does to a model, and in how much memory."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

import model_files
import octavo
from encoders import assert_same_encoder, cosines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["bert", "distilbert", "modernbert"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return model_files.write_random(tmp_path / "float", request.param)


def test_every_layer_becomes_int8(folder: Path) -> None:
    small = octavo.compress(folder)
    kinds = {type(layer).__name__ for _, layer in small.named_modules()}
    assert {"Linear", "Embedding", "LayerNorm"} <= kinds
    assert not {"FloatLinear", "FloatEmbedding"} & kinds
    model = octavo.models.load(folder)
    assert small.nbytes < 0.45 * model.nbytes
    assert cosines(model, small).min() > 0.99


def test_codes_are_those_of_the_layers(folder: Path) -> None:
    model, small = octavo.models.load(folder), octavo.compress(folder)
    for name, layer in model.named_modules():
        if isinstance(layer, (octavo.nn.FloatLinear, octavo.nn.FloatEmbedding)):
            cls = octavo.Linear if isinstance(layer, octavo.nn.FloatLinear) else octavo.Embedding
            expected = cls.from_float(layer.weight).state_dict()
            found = small.get_submodule(name).state_dict()
            np.testing.assert_array_equal(found["weight"], expected["weight"])
            np.testing.assert_array_equal(found["weight_scale"], expected["weight_scale"])


def test_compressing_twice_changes_nothing(folder: Path) -> None:
    small = octavo.compress(folder)
    assert_same_encoder(octavo.compress(small), small)


def test_bad_arguments(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"recipe: expected int8, .*, got 'int3'"):
        octavo.compress(folder, recipe="int3")
    with pytest.raises(
        TypeError, match="recipe: expected a name, a dict or a YAML file, got NoneT"
    ):
        octavo.compress(folder, recipe=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model: expected a model or a folder, got int"):
        octavo.compress(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_weights_that_are_not_finite(tmp_path: Path, value: float, kind: str) -> None:
    for layer in (
        "encoder.layer.1.output.dense",
        "encoder.layer.0.output.LayerNorm",
        "embeddings.word_embeddings",
    ):
        name = f"{layer}.{kind}"
        tensors = model_files.random_tensors(model_files.BERT)
        if name not in tensors:
            continue
        tensors[name].flat[-1] = value
        folder = model_files.write_folder(tmp_path / layer, model_files.BERT, tensors)
        with pytest.raises(ValueError, match=f"layer '{layer}': {kind}: expected finite values"):
            octavo.compress(folder)
        with pytest.raises(ValueError, match=f"layer '{layer}': {kind}: expected finite values"):
            octavo.compress(octavo.models.load(folder))


def big_folder(path: Path) -> Path:
    """A model of which one table is most."""
    config = model_files.BERT | {"vocab_size": 20_000, "hidden_size": 128}
    config |= {"intermediate_size": 512, "num_hidden_layers": 4}
    return model_files.write_folder(path, config, model_files.random_tensors(config))


def test_memory_stays_near_the_artifact(tmp_path: Path) -> None:
    folder = big_folder(tmp_path / "float")
    octavo.compress(model_files.write_random(tmp_path / "warm")).save(tmp_path / "warm8")
    largest = 512 * 128 * 4
    gc.collect()
    tracemalloc.start()
    try:
        small = octavo.compress(folder)
        compressed, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        small.save(tmp_path / "int8")
        save_peak = tracemalloc.get_traced_memory()[1]
        size = (tmp_path / "int8" / "model.safetensors").stat().st_size
        del small
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        octavo.models.load(tmp_path / "int8")
        load_peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    # The native module's own memory is not traced: what is traced may only be less.
    room = 8 * largest + (1 << 20)
    assert peak < size + room
    assert compressed < size + (1 << 20)
    assert save_peak < size + room
    assert load_peak < size + room
