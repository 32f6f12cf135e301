# SPDX-License-Identifier: Apache-2.0
"""Compression with pruning: which layers, which zeros, in which order, on which inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from encoders import linears, token_rows
from octavo import nn
from octavo.algorithms import pruning
from octavo.compression import Prune, Recipe
from octavo.nn import tree

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

WANDA: dict[str, Any] = {"prune": {"method": "wanda", "sparsity": 0.5}}


@pytest.fixture(params=["bert", "distilbert", "modernbert"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return model_files.write_random(tmp_path / "float", request.param)


def test_half_of_each_layer_is_zero(folder: Path) -> None:
    before, small = octavo.models.load(folder), octavo.compress(folder, "sparse50")
    for name, layer in linears(small).items():
        weight = before.get_submodule(name).weight  # type: ignore[attr-defined]
        assert isinstance(layer, nn.FloatLinear)
        assert (layer.weight == 0).sum() == layer.weight.size // 2
        np.testing.assert_array_equal(layer.weight, weight * pruning.magnitude(weight, 0.5))
    assert small.recipe == {"prune": {"method": "magnitude", "sparsity": 0.5}, "quantize": "none"}
    for name, value in before.state_dict().items():
        if name.startswith("embeddings.") or "_norm" in name or name.endswith("bias"):
            np.testing.assert_array_equal(value, small.state_dict()[name])


def test_zeros_are_exact_in_int8(folder: Path) -> None:
    floats, small = octavo.compress(folder, "sparse50"), octavo.compress(folder, "sparse50-int8")
    for name, layer in linears(small).items():
        weight = floats.get_submodule(name).weight  # type: ignore[attr-defined]
        assert nn.is_linear(layer, "int8")
        assert (layer.weight_codes[weight == 0] == 0).all()
        expected = nn.Linear.from_float(weight)
        np.testing.assert_array_equal(layer.weight_codes, expected.weight_codes)
        np.testing.assert_array_equal(layer.weight_scale, expected.weight_scale)
    table: Any = small.get_submodule(small.anchor.removesuffix(".weight"))
    assert isinstance(table, nn.Embedding)
    assert (table.weight != 0).mean() > 0.95


@pytest.mark.parametrize("data", [None, token_rows(5, 48, 11)], ids=["magnitude", "sparsegpt"])
def test_patterns_hold_in_every_group(folder: Path, data: Any) -> None:
    small = octavo.compress(folder, "2:4-int8", calibration=data)
    for layer in linears(small).values():
        groups = layer.weight_codes.reshape(-1, 4)
        assert ((groups != 0).sum(axis=1) <= 2).all()
    assert small.recipe is not None
    assert small.recipe["prune"]["pattern"] == "2:4"
    assert small.recipe.get("calibration_tokens") == (None if data is None else 6 * 8 * 11)


def test_blocks_in_a_layer_and_over_all(folder: Path) -> None:
    for scope in ("layer", "global"):
        recipe = {"prune": {"sparsity": 0.75, "block": [1, 4], "scope": scope}, "quantize": "none"}
        small = octavo.compress(folder, recipe)
        shares = []
        for layer in linears(small).values():
            zeros = (layer.weight == 0).reshape(-1, 4)
            assert (zeros.all(axis=1) | ~zeros.any(axis=1)).all()
            shares.append(zeros.mean())
        assert (len(set(shares)) > 1) is (scope == "global")


def test_one_threshold_for_all(folder: Path) -> None:
    recipe = {"prune": {"sparsity": 0.6, "scope": "global"}, "quantize": "none"}
    before = linears(octavo.models.load(folder))
    after = linears(octavo.compress(folder, recipe))
    zeros = sum(int((layer.weight == 0).sum()) for layer in after.values())
    assert zeros == round(0.6 * sum(layer.weight.size for layer in after.values()))
    kept = min(np.abs(layer.weight[layer.weight != 0]).min() for layer in after.values())
    lost = max(
        np.abs(layer.weight[after[name].weight == 0]).max() for name, layer in before.items()
    )
    assert lost <= kept


def test_excluded_layers_are_quantized_all_the_same(folder: Path) -> None:
    for recipe, data in (
        ({"prune": {"sparsity": 0.5}}, None),
        ({"prune": {"sparsity": 0.5, "scope": "global"}}, None),
        (WANDA, token_rows(5, 48, 11)),
    ):
        prune = {**recipe["prune"], "exclude": ["*.0.*"]}
        small = octavo.compress(folder, {"prune": prune}, calibration=data)
        dense = octavo.compress(folder)
        for name, layer in linears(small).items():
            codes = dense.get_submodule(name).weight_codes  # type: ignore[attr-defined]
            assert nn.is_linear(layer, "int8")
            if ".0." in name:
                np.testing.assert_array_equal(layer.weight_codes, codes)
            else:
                assert (layer.weight_codes == 0).mean() > (codes == 0).mean() + 0.2
        prune["exclude"] = ["*.0.*", "*.7.*"]
        with pytest.raises(ValueError, match=r"prune.exclude: .* got '\*.7.\*'"):
            octavo.compress(folder, {"prune": prune}, calibration=data)


def seen(model: Encoder, name: str, data: np.ndarray) -> tuple[np.ndarray, Any]:
    """What a layer of a model reads, and what is added to its result, by a run of the model."""
    rows: list[np.ndarray] = []
    residuals: list[np.ndarray] = []

    class Probe(nn.Module):
        def __init__(self, layer: Any) -> None:
            self.layer = layer

        def __call__(self, x: Any, residual: Any = None) -> Any:
            rows.append(x.reshape(-1, x.shape[-1]))
            if residual is not None:
                residuals.append(residual.reshape(-1, residual.shape[-1]))
            return self.layer(x, residual)

    probed = tree.map_layers(model, lambda n, layer: Probe(layer) if n == name else layer)
    hidden = probed(data)
    for _, head in probed.heads():
        head(hidden)
    return np.concatenate(rows), np.concatenate(residuals) if residuals else None


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "admm"])
def test_each_layer_sees_what_the_pruned_ones_before_it_give(folder: Path, method: str) -> None:
    aim = None if method == "wanda" else "layer"
    recipe = Recipe(Prune(method, 0.5, aim=aim), "none")
    model, data = octavo.models.load(folder), token_rows(5, 48, 11)
    pruned = octavo.compress(model, recipe, calibration=data)
    for name, layer in linears(pruned).items():
        # In the result everything before a layer is pruned, which is what it saw.
        weight = model.get_submodule(name).weight  # type: ignore[attr-defined]
        statistics = pruning.InputHessian(weight.shape[1])
        statistics.update(seen(pruned, name, data)[0])
        if method == "wanda":
            expected = weight * pruning.wanda(weight, statistics, 0.5)
        else:
            expected = getattr(pruning, method)(weight, statistics, 0.5)
        assert np.abs(layer.weight - expected).mean() < 0.01 * np.abs(expected).mean(), name


@pytest.mark.parametrize("method", ["sparsegpt", "admm"])
def test_each_layer_aims_at_the_float_model(folder: Path, method: str) -> None:
    model, data = octavo.models.load(folder), token_rows(5, 48, 11)
    pruned = octavo.compress(model, Recipe(Prune(method, 0.5), "none"), calibration=data)
    for name, layer in linears(pruned).items():
        before: Any = model.get_submodule(name)
        x, residual = seen(pruned, name, data)
        float_x, float_residual = seen(model, name, data)
        y = nn.FloatLinear(before.weight, before.bias)(float_x)
        if residual is not None and float_residual is not None:
            y = y + float_residual - residual
        fit = pruning.OutputFit(*before.weight.shape[::-1])
        fit.update(x, y)
        dense, hessian = fit.solve(before.weight, 0.01)
        expected = getattr(pruning, method)(dense, hessian, 0.5)
        assert np.abs(layer.weight - expected).mean() < 0.01 * np.abs(expected).mean(), name
        np.testing.assert_allclose(layer.bias, fit.bias(layer.weight), atol=1e-4)


def test_aiming_at_the_model_comes_nearer(folder: Path) -> None:
    model, data = octavo.models.load(folder), token_rows(5, 320, 11)
    fresh = np.random.default_rng(6).integers(1, 100, (64, 11))
    expected = model.encode(fresh)
    errors = []
    for aim in ("model", "layer"):
        recipe = Recipe(Prune("sparsegpt", 0.5, aim=aim))
        small = octavo.compress(model, recipe, calibration=data)
        errors.append(np.square(small.encode(fresh) - expected).mean())
    assert errors[0] < errors[1]


def test_calibrated_pruning_is_better(folder: Path) -> None:
    model, data = octavo.models.load(folder), token_rows(5, 96, 11)
    fresh = np.random.default_rng(6).integers(1, 100, (16, 11))
    expected = model.encode(fresh)
    errors = [
        np.square(octavo.compress(model, "sparse50-int8", calibration=c).encode(fresh) - expected)
        for c in (data, None)
    ]
    assert errors[0].mean() < errors[1].mean()


def test_layers_that_are_int8_already_are_not_pruned(tmp_path: Path) -> None:
    small = octavo.compress(model_files.write_random(tmp_path))
    for data in (None, token_rows()):
        with pytest.raises(ValueError, match="expected float linear layers to prune, got none"):
            octavo.compress(small, "sparse50-int8", calibration=data)


def test_a_layer_that_gives_nan_is_named(tmp_path: Path) -> None:
    tensors = model_files.random_tensors(model_files.BERT)
    tensors["encoder.layer.0.output.LayerNorm.bias"].flat[3] = np.nan
    folder = model_files.write_folder(tmp_path, model_files.BERT, tensors)
    with pytest.raises(
        ValueError, match=r"layer 'encoder.layer.1.*calibration: x: expected finite"
    ):
        octavo.compress(folder, {**WANDA, "quantize": "none"}, calibration=token_rows(5, 48, 11))


def test_calibration_that_does_not_fit(folder: Path) -> None:
    for recipe in ("int8", {"prune": {"method": "magnitude", "sparsity": 0.5}}):
        with pytest.raises(ValueError, match="calibration: expected none"):
            octavo.compress(folder, recipe, calibration=token_rows(5, 48, 11))
