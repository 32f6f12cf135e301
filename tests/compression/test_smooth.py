# SPDX-License-Identifier: Apache-2.0
"""Smoothing, equalization, bias correction and outliers as steps of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from encoders import linears
from octavo import nn
from octavo.compression import read_recipe
from octavo.compression.equalize import equalize
from octavo.compression.smooth import smooth
from octavo.compression.work import Work
from octavo.data.batches import Batches, batches_of
from octavo.nn.tree import map_layers
from reference import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from octavo.models import Encoder

IDS, MASK = model_files.batch(lengths=(3, 24, 11, 17, 5, 20, 8, 2))
DATA = {"input_ids": IDS, "attention_mask": MASK}


def loaded(folder: Path, kind: str = "bert", **changes: Any) -> Encoder:
    """A model whose first hidden channels are far larger than the others."""
    config = {**model_files.CONFIGS[kind], **changes}
    tensors = model_files.random_tensors(config)
    for name, values in tensors.items():
        if name.lower().endswith(("layernorm.weight", "_norm.weight", ".norm.weight")):
            values[:2] *= 12
    return octavo.models.load(model_files.write_folder(folder, config, tensors))


def work_of(model: Encoder, quantize: dict[str, Any], data: Any = DATA) -> Work:
    recipe = read_recipe({"quantize": {"dtype": "int8", **quantize}})
    batches = Batches([]) if data is None else batches_of(data, model)
    return Work(recipe, model, batches)


def error(model: Encoder, small: Encoder) -> float:
    difference = small(IDS, MASK) - model(IDS, MASK)
    return float(np.square(difference[MASK.astype(bool)]).mean())


@pytest.mark.parametrize("kind", model_files.CONFIGS)
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("step", ["smooth", "equalize"])
def test_the_float_model_stays_what_it_was(
    tmp_path: Path, kind: str, activation: str, step: str
) -> None:
    key = {"bert": "hidden_act", "modernbert": "hidden_activation"}.get(kind, "activation")
    model = loaded(tmp_path / "m", kind, **{key: activation})
    before = {name: layer.weight.copy() for name, layer in linears(model).items()}
    wanted = model(IDS, MASK)
    work = work_of(model, {"smooth": 0.5} if step == "smooth" else {"equalize": True})
    (smooth if step == "smooth" else equalize)(work)
    np.testing.assert_allclose(work.model(IDS, MASK), wanted, rtol=1e-3, atol=1e-4)
    changed = [n for n, layer in linears(work.model).items() if (layer.weight != before[n]).any()]
    made = linears(work.model)
    multiplied = {n for n, layer in made.items() if layer.input_multiplier is not None}
    pairs = model.pairs()
    assert len(pairs) == (15 if kind == "modernbert" else 4 if activation == "relu" else 2)
    if step == "equalize":
        linear = [pair for pair in pairs if pair.first in before]
        assert set(changed) == {name for pair in linear for name in (pair.first, *pair.readers)}
        assert not multiplied
    else:
        assert multiplied == set(before) - {name for pair in pairs for name in pair.readers}
    for name, layer in linears(model).items():
        assert_same_bits(layer.weight, before[name])


def test_equalized_channels_have_one_range(tmp_path: Path) -> None:
    work = work_of(loaded(tmp_path / "m", hidden_act="relu"), {"equalize": True}, None)
    equalize(work)
    for pair in work.model.pairs():
        made: Any = work.model.get_submodule(pair.first)
        read: Any = work.model.get_submodule(pair.readers[0])
        ranges = np.abs(made.weight).max(axis=1), np.abs(read.weight).max(axis=0)
        np.testing.assert_allclose(*ranges, rtol=1e-4)


def test_smoothing_brings_the_model_closer(tmp_path: Path) -> None:
    model = loaded(tmp_path / "m")
    plain = error(model, octavo.compress(model, "int8"))
    found = octavo.compress(model, "int8-smooth", calibration=DATA)
    fixed = octavo.compress(model, {"quantize": {"smooth": 0.5}}, calibration=DATA)
    assert error(model, found) < 0.8 * plain
    assert error(model, fixed) < plain
    assert found.recipe is not None
    assert found.recipe["quantize"] == {"dtype": "int8", "smooth": "auto"}
    assert not any(isinstance(layer, nn.FloatLinear) for layer in linears(found).values())


def test_outlier_layers_are_where_the_inputs_are_large(tmp_path: Path) -> None:
    model = loaded(tmp_path / "m")
    small = octavo.compress(model, {"quantize": {"outliers": 9.0}}, calibration=DATA)
    found = {n: layer for n, layer in linears(small).items() if isinstance(layer, nn.OutlierLinear)}
    assert any(name.endswith("value") for name in found)
    for name, layer in found.items():
        if name.endswith(("value", "query", "intermediate.dense")):
            assert set(layer.outlier_columns) <= {0, 1}
    assert error(model, small) < 0.7 * error(model, octavo.compress(model, "int8"))
    high = octavo.compress(model, {"quantize": {"outliers": 1e6}}, calibration=DATA)
    assert not any(isinstance(layer, nn.OutlierLinear) for layer in linears(high).values())
    assert_same_bits(high(IDS, MASK), octavo.compress(model, "int8")(IDS, MASK))


@pytest.mark.parametrize("prune", [None, {"sparsity": 0.5, "method": "wanda"}])
def test_corrected_biases_leave_no_mean_error(tmp_path: Path, prune: Any) -> None:
    model = loaded(tmp_path / "m")
    recipe = {"quantize": {"dtype": "int8", "equalize": True}}
    if prune is not None:
        recipe["prune"] = prune
    plain = octavo.compress(model, recipe, calibration=DATA if prune else None)
    recipe["quantize"]["correct_bias"] = True
    fixed = octavo.compress(model, recipe, calibration=DATA)
    if prune is not None:
        assert error(model, fixed) < error(model, plain)
    goal, before, after = (_mean_before_norm(one) for one in (model, plain, fixed))
    for name, mean in goal.items():
        shift = np.abs(after[name] - mean).mean()
        assert shift < 0.1 * np.abs(before[name] - mean).mean() + 1e-6
    for name, layer in linears(fixed).items():
        twin = linears(plain)[name]
        assert type(layer) is type(twin)
        assert_same_bits(layer.weight_codes, twin.weight_codes)


def _mean_before_norm(model: Encoder) -> dict[str, Any]:
    """The mean over tokens of what goes into each block's last norm."""
    copy = map_layers(model, lambda _, layer: layer)
    sums: dict[str, Any] = {}

    def spied(name: str, norm: nn.Module) -> Callable[..., Any]:
        def call(x: Any, *rest: Any) -> Any:
            sums[name] = x.reshape(-1, x.shape[-1]).mean(axis=0)  # of tokens alone
            return norm(x, *rest)

        return call

    for name, block in copy.blocks():
        block.output.LayerNorm = spied(name, block.output.LayerNorm)  # type: ignore[attr-defined]
    copy(IDS, MASK)
    return sums


def test_everything_at_once_with_excluded_layers(tmp_path: Path) -> None:
    model = loaded(tmp_path / "m", hidden_act="relu")
    quantize = {
        "smooth": "auto",
        "equalize": True,
        "correct_bias": True,
        "outliers": 5.0,
        "exclude": ["encoder.layer.1.*"],
    }
    recipe = {"prune": {"sparsity": 0.3}, "quantize": {"dtype": "int8", **quantize}}
    small = octavo.compress(model, recipe, calibration=DATA)
    for name, layer in linears(small).items():
        kept = name.startswith("encoder.layer.1.")
        assert isinstance(layer, nn.FloatLinear) is kept
        if kept:
            assert layer.input_multiplier is None


@pytest.mark.parametrize(
    ("quantize", "message"),
    [
        ({"smooth": "best"}, "recipe: quantize.smooth: expected auto or a number, got 'best'"),
        ({"smooth": True}, "recipe: quantize.smooth"),
    ],
)
def test_bad_recipes(quantize: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        read_recipe({"quantize": quantize})


def test_a_multiplier_that_is_missing_or_not_announced(tmp_path: Path) -> None:
    import safetensors.numpy

    small = octavo.compress(loaded(tmp_path / "m"), "int8-smooth", calibration=DATA)
    small.save(tmp_path / "s")
    file, config = tmp_path / "s" / "model.safetensors", tmp_path / "s" / "config.json"
    tensors, described = safetensors.numpy.load_file(file), config.read_text(encoding="utf-8")
    name = next(key for key in tensors if key.endswith("input_multiplier"))
    config.write_text(described.replace("octavo-multiplier", "int-quantized"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tensor '.*input_multiplier' has no place"):
        octavo.models.load(tmp_path / "s")
    config.write_text(described, encoding="utf-8")
    for value in (None, np.ones(7, np.float32), -tensors[name]):
        changed = {key: array for key, array in tensors.items() if key != name}
        if value is not None:
            changed[name] = value
        safetensors.numpy.save_file(changed, file)
        with pytest.raises(ValueError, match="input_multiplier"):
            octavo.models.load(tmp_path / "s")
