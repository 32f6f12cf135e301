# SPDX-License-Identifier: Apache-2.0
"""Codes of fewer than eight bits: within their range, nearer with GPTQ, smaller when coded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import nn
from octavo.algorithms import smoothing
from octavo.algorithms.rounding import nearest_rows

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

BITS = [2, 3, 4, 6, 7]


@pytest.fixture
def model(tmp_path: Path) -> Encoder:
    return octavo.models.load(model_files.write_random(tmp_path / "model"))


def weights(model: Encoder) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    kinds = (nn.Linear, nn.Embedding)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, kinds)}
    return {name: (layer.weight_codes, layer.weight_scale) for name, layer in layers.items()}


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_codes_stay_within_their_range(model: Encoder, bits: int, rounding: str) -> None:
    limit = 2 ** (bits - 1) - 1
    rows = np.random.default_rng(0).integers(1, 100, (40, 16))
    recipe = {"quantize": {"bits": bits, "rounding": rounding}}
    made = octavo.compress(model, recipe, calibration=rows if rounding == "gptq" else None)
    assert made.recipe is not None
    assert made.recipe["quantize"]["bits"] == bits
    found = weights(made)
    assert found.keys() == weights(octavo.compress(model)).keys()
    for codes, _ in found.values():
        assert np.abs(codes.astype(int)).max() == limit


def test_embeddings_may_have_more(model: Encoder) -> None:
    made = octavo.compress(model, {"quantize": {"bits": 4, "embedding_bits": 6}})
    largest = {
        isinstance(layer, nn.Embedding): np.abs(layer.weight_codes.astype(int)).max()
        for _, layer in made.named_modules()
        if layer.kind == "int8"
    }
    assert largest == {True: 31, False: 7}


@pytest.mark.parametrize("bits", BITS)
def test_weights_are_as_near_as_the_range_allows(model: Encoder, bits: int) -> None:
    limit = 2 ** (bits - 1) - 1
    made = octavo.compress(model, {"quantize": {"bits": bits}})
    floats = {name: layer for name, layer in model.named_modules() if hasattr(layer, "weight")}
    for name, (codes, scale) in weights(made).items():
        weight = np.asarray(floats[name].weight)
        step = np.where(weight.any(axis=1), np.abs(weight).max(axis=1) / limit, 1)
        np.testing.assert_allclose(scale, step, rtol=1e-6)
        error = np.abs(codes * scale[:, None] - weight)
        assert (error <= 0.5001 * step[:, None]).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rows_at_the_ends_of_float32(bits: int) -> None:
    limit = 2 ** (bits - 1) - 1
    most, least = np.finfo(np.float32).max, np.finfo(np.float32).tiny
    weight = np.array([[most, -most], [0, 0], [least, -0.4 * least]], np.float32)
    codes, scale = nearest_rows(weight, bits)
    assert codes[0].tolist() == [limit, -limit]
    assert codes[1].tolist() == [0, 0]
    assert scale[1] == 1
    assert codes[2, 0] >= 1
    if bits == 8:
        same = octavo.quantize(weight, axis=0)
        np.testing.assert_array_equal(codes, same.data)
        np.testing.assert_array_equal(scale, same.scale)


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "static": ({"quantize": {"activations": "static"}}, {}),
    "smooth": ({"quantize": {"smooth": "auto"}}, {}),
    "equalized": ({"quantize": {"equalize": True}}, {}),
    "target": ({}, {"target": {"sqnr": 1.0}}),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_keeps_to_the_bits(tmp_path: Path, way: str) -> None:
    fields, options = WAYS[way]
    quantize = {**fields.get("quantize", {}), "bits": 4}
    rows = None if way == "equalized" else np.random.default_rng(0).integers(1, 100, (40, 16))
    folder = model_files.write_random(tmp_path / "model")
    made = octavo.compress(folder, {"quantize": quantize}, calibration=rows, **options)
    assert max(np.abs(codes.astype(int)).max() for codes, _ in weights(made).values()) == 7


def test_smoothing_is_searched_for_the_bits(model: Encoder) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 64)).astype(np.float32) * np.geomspace(1, 30, 64, dtype="f4")
    inputs = smoothing.InputRanges(64)
    inputs.update(x)
    weight = rng.standard_normal((32, 64)).astype(np.float32)
    found = [smoothing.best_multiplier(weight, inputs, bits=bits) for bits in (8, 3)]
    spread = [1.0 if one is None else float(one.max() / one.min()) for one in found]
    assert spread[0] > spread[1]


def test_a_pruned_layer_keeps_its_zeros(model: Encoder) -> None:
    recipe = {"prune": {"method": "magnitude", "sparsity": 0.75}, "quantize": {"bits": 5}}
    made = octavo.compress(model, recipe)
    layers = [layer for _, layer in made.named_modules() if isinstance(layer, nn.SparseLinear)]
    assert layers
    for layer in layers:
        assert layer.sparsity >= 0.74
        assert np.abs(layer.weight_codes.astype(int)).max() == 15


def test_the_coded_file_follows_the_bits(model: Encoder, tmp_path: Path) -> None:
    sizes = []
    for bits in (8, 6, 4):
        recipe = {"quantize": {"bits": bits}, "store": "zstd"}
        folder = tmp_path / str(bits)
        octavo.compress(model, recipe).save(folder)
        again = octavo.models.load(folder)
        assert again.recipe is not None
        assert again.recipe["quantize"] == ({"dtype": "int8", "bits": bits} if bits < 8 else "int8")
        sizes.append(sum(path.stat().st_size for path in folder.glob("*.zst")))
    assert sizes[0] > 1.15 * sizes[1] > 1.15**2 * sizes[2]
