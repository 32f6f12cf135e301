# SPDX-License-Identifier: Apache-2.0
"""Little or dead data: one sentence, one row, rows that are all alike, inputs that never come.

What the data says nothing about is done without it, to the same weights as without any, and named.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import nn
from octavo.algorithms import observers, pruning, rounding, smoothing

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

IDS = np.arange(1, 13)[None]
STRUCTURES = [{"sparsity": 0.5}, {"pattern": (2, 4)}, {"sparsity": 0.5, "block": (2, 2)}]
SECOND_ORDER = [pruning.sparsegpt, pruning.admm]


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((8, 16))


def by_magnitude(weight: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    if "pattern" in options:
        return weight * pruning.nm(weight, *options["pattern"])
    if "block" in options:
        return weight * pruning.block(weight, options["sparsity"], *options["block"])
    return weight * pruning.magnitude(weight, options["sparsity"])


@pytest.mark.parametrize("damping", [0.0, 0.01])
@pytest.mark.parametrize("options", STRUCTURES, ids=str)
def test_without_any_data_magnitudes_decide(
    weight: np.ndarray, options: dict[str, Any], damping: float
) -> None:
    nothing, expected = np.zeros((16, 16)), by_magnitude(weight, options)
    for prune in SECOND_ORDER:
        # All at once: magnitudes are compared over the whole weight.
        many = {"columns": 16} if prune is pruning.sparsegpt else {}
        got = prune(weight, nothing, **options, **many, damping=damping)
        np.testing.assert_allclose(got, expected, atol=1e-12)
    mask = expected != 0
    refitted = pruning.refit(weight, nothing, mask, damping=damping)
    np.testing.assert_allclose(refitted, expected, atol=1e-12)
    kept = pruning.wanda(weight, np.zeros(16), **options)
    np.testing.assert_array_equal(kept, pruning.wanda(weight, np.ones(16), **options))
    codes, scale = rounding.gptq(weight, nothing, scale="max", damping=damping)
    plain = rounding.nearest_rows(weight.astype(np.float32))
    np.testing.assert_array_equal(codes, plain[0])
    np.testing.assert_allclose(scale, plain[1], rtol=1e-6)


def test_an_input_that_never_comes_needs_no_damping(weight: np.ndarray) -> None:
    x = np.random.default_rng(6).standard_normal((100, 16))
    x[:, 0] = 0
    dead, others = x.T @ x, x[:, 1:].T @ x[:, 1:]
    fit = pruning.OutputFit(16, 8)
    fit.update(x, x @ (2 * weight).T)
    solved, _ = fit.solve(weight, damping=0)
    np.testing.assert_allclose(solved[:, 1:], 2 * weight[:, 1:])
    np.testing.assert_allclose(solved[:, 0], weight[:, 0], rtol=1e-12)
    keep = np.ones(weight.shape, np.bool_)
    np.testing.assert_allclose(pruning.refit(weight, dead, keep, damping=0), weight)
    scale = np.full(8, 0.1, np.float32)
    codes, _ = rounding.gptq(weight, dead, scale=scale, damping=0)
    rest, _ = rounding.gptq(weight[:, 1:], others, scale=scale, damping=0)
    np.testing.assert_array_equal(codes[:, 1:], rest)
    np.testing.assert_array_equal(codes[:, 0], np.rint(weight[:, 0] / scale))
    for prune in SECOND_ORDER:
        assert not prune(np.sign(weight), dead, 1 / 16, damping=0)[:, 0].any()


@pytest.mark.parametrize("rows", [1, 7])
def test_rows_that_are_all_alike_leave_a_weight_where_it_is(weight: np.ndarray, rows: int) -> None:
    x = np.random.default_rng(7).standard_normal((1, 16)).astype(np.float32) * 1000
    fit = pruning.OutputFit(16, 8)
    for _ in range(rows):
        fit.update(x, x @ weight.T + 1)
    assert fit.is_silent
    solved, hessian = fit.solve(weight, damping=0.01)
    np.testing.assert_allclose(solved, weight, rtol=1e-12)
    assert not hessian.any()
    np.testing.assert_allclose(fit.bias(solved), 1, rtol=1e-6)
    fit.update(2 * x, x @ weight.T)
    assert not fit.is_silent


@pytest.mark.parametrize("kind", observers.OBSERVERS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_zeros_alone_have_a_scale(kind: str, symmetric: bool) -> None:
    observer = observers.OBSERVERS[kind]()
    observer.update(np.zeros((3, 4), np.float32))
    assert observer.scale_zero_point(symmetric) == (1.0, 0 if symmetric else -128)
    observer.update(np.full((2, 4), 2.55, np.float32))
    assert observer.scale_zero_point(symmetric)[0] == pytest.approx(2.55 / 254, rel=1.1)


def test_smoothing_of_dead_channels(weight: np.ndarray) -> None:
    ranges = smoothing.InputRanges(16)
    ranges.update(np.zeros((4, 16), np.float32))
    np.testing.assert_array_equal(
        smoothing.smoothing_multiplier(np.zeros((8, 16)), ranges), np.ones(16, np.float32)
    )
    assert smoothing.best_multiplier(weight, ranges) is None
    assert not smoothing.outlier_columns(ranges).size
    scale = smoothing.equalizing_scale(np.zeros((16, 4)), weight)
    np.testing.assert_array_equal(scale, np.ones(16, np.float32))


def model(folder: Path, *zeros: str) -> Encoder:
    tensors = model_files.random_tensors(model_files.BERT)
    for name in zeros:
        tensors[f"{name}.weight"][:] = 0
    model_files.write_folder(folder, model_files.BERT, tensors)
    return octavo.models.load(folder)


GPTQ = {"quantize": {"rounding": "gptq"}}
RECIPES = [
    GPTQ,
    {"quantize": {"rounding": "gptq", "activations": "static", "smooth": "auto"}},
    {"prune": {"sparsity": 0.5, "method": "sparsegpt"}, **GPTQ},
    {"prune": {"sparsity": 0.5, "method": "admm"}, "quantize": "int8"},
    {"prune": {"pattern": "2:4"}, "quantize": "int8"},
    "deep-compression",
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_one_sentence_is_enough(tmp_path: Path, recipe: Any) -> None:
    plain = model(tmp_path / "model")
    with pytest.warns(UserWarning, match=r"says nothing about pooler\.dense: all rows") as told:
        made = octavo.compress(plain, recipe, calibration=[IDS])
    assert len(told) == 1
    assert told[0].filename == __file__
    assert made.recipe["silent_layers"] == ["pooler.dense"]
    near = octavo.algorithms.measures.cosines(made.encode(IDS), plain.encode(IDS))
    assert near.min() > (0.99 if recipe in RECIPES[:2] else 0.5)
    made.save(tmp_path / "made")
    np.testing.assert_array_equal(
        octavo.models.load(tmp_path / "made").encode(IDS), made.encode(IDS)
    )


@pytest.mark.parametrize("recipe", [*RECIPES, "int8-static", "int8-smooth"], ids=str)
def test_layers_of_zeros(tmp_path: Path, recipe: Any) -> None:
    """Whatever reads a weight of zeros, and what comes behind it."""
    block = "encoder.layer.0"
    names = [f"{block}.attention.self.query", f"{block}.intermediate.dense"]
    plain = model(tmp_path / "model", *names)
    data = np.random.default_rng(2).integers(1, 60, (6, 12))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "calibration: the data says nothing")
        made = octavo.compress(plain, recipe, calibration=[data])
    assert np.isfinite(made.encode(data)).all()
    for name in names:
        layer: Any = made.get_submodule(name)
        assert nn.is_linear(layer, "int8")
        assert not layer.weight_codes.any()
