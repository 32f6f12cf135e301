# SPDX-License-Identifier: Apache-2.0
"""Layers that compute some columns in float: the sum of both parts, and what is no layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octavo
from octavo import Linear
from octavo.nn import FloatLinear, OutlierLinear
from reference import assert_same_bits

COLUMNS = [1, 7, 18]


def make(rng: np.random.Generator, **options: Any) -> tuple[OutlierLinear, np.ndarray, np.ndarray]:
    weight = rng.normal(0, 1, (12, 20)).astype(np.float32)
    bias = rng.normal(0, 1, 12).astype(np.float32)
    layer = OutlierLinear.from_float(weight, bias, outlier_columns=COLUMNS, **options)
    return layer, weight, bias


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_both_parts_then_the_activation(rng: np.random.Generator, activation: str) -> None:
    layer, weight, bias = make(rng, activation=activation)
    x = rng.normal(0, 1, (2, 3, 20)).astype(np.float32)
    x[..., COLUMNS] *= 100
    residual = rng.normal(0, 1, (2, 3, 12)).astype(np.float32)
    rest, masked = x.copy(), weight.copy()
    rest[..., COLUMNS] = 0
    masked[:, COLUMNS] = 0
    floats = np.matmul(x.reshape(6, 20)[:, COLUMNS], weight[:, COLUMNS].T).reshape(2, 3, 12)
    total = Linear.from_float(masked, bias)(rest, floats)
    wanted = octavo.nn.Activation(activation)(total) if activation != "none" else total
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(layer(x, residual), wanted + residual, rtol=1e-5, atol=1e-5)
    exact = FloatLinear(weight, bias, activation)(x)
    plain = Linear.from_float(weight, bias, activation=activation)(x)
    assert np.square(layer(x) - exact).sum() < 0.01 * np.square(plain - exact).sum()


def test_without_outliers_it_is_a_linear(rng: np.random.Generator) -> None:
    weight = rng.normal(0, 1, (5, 9)).astype(np.float32)
    x = rng.normal(0, 1, (4, 9)).astype(np.float32)
    for options in ({}, {"symmetric": True}, {"input_scale": 0.03}):
        layer = OutlierLinear.from_float(weight, **options)
        assert_same_bits(layer(x), Linear.from_float(weight, **options)(x))


@pytest.mark.parametrize("scaled", [False, True])
def test_what_it_holds(rng: np.random.Generator, scaled: bool) -> None:
    multiplier = rng.uniform(0.5, 2, 20).astype(np.float32) if scaled else None
    layer, weight, _ = make(rng, input_multiplier=multiplier)
    assert_same_bits(layer.outlier_columns, np.array(COLUMNS, np.int64))
    assert_same_bits(layer.outlier_weight, layer.state_dict()["outlier_weight"])
    assert ("input_multiplier" in layer.state_dict()) is scaled
    assert not layer.state_dict()["weight"][:, COLUMNS].any()
    again = OutlierLinear.from_state_dict(layer.state_dict(), **layer.config())
    x = rng.normal(0, 1, (3, 20)).astype(np.float32)
    assert_same_bits(again(x), layer(x))
    factor = np.ones(20, np.float32) if multiplier is None else multiplier
    step = layer.weight_scale.max() * factor.max()
    np.testing.assert_allclose(layer.weight, weight * factor, atol=float(step))
    np.testing.assert_allclose(layer.weight[:, COLUMNS], (weight * factor)[:, COLUMNS], rtol=1e-6)


def test_codes_say_what_outlier_columns_weigh(rng: np.random.Generator) -> None:
    codes = rng.integers(-127, 128, (6, 20)).astype(np.int8)
    multiplier = rng.uniform(0.5, 2, 20).astype(np.float32)
    layer = OutlierLinear.from_quantized(
        codes, 0.1, outlier_columns=COLUMNS, input_multiplier=multiplier
    )
    plain = Linear.from_quantized(codes, 0.1, input_multiplier=multiplier)
    np.testing.assert_allclose(layer.weight, plain.weight, rtol=1e-6)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ([3, 3], ValueError, "ascending numbers from 0 to 19"),
        ([5, 2], ValueError, "ascending numbers from 0 to 19"),
        ([-1], ValueError, "ascending numbers from 0 to 19"),
        ([20], ValueError, "ascending numbers from 0 to 19"),
        ([[1]], ValueError, "outlier_columns: expected shape"),
        ([1.5], TypeError, "outlier_columns: expected integers, got float64"),
        ([True], TypeError, "outlier_columns: expected integers, got bool"),
    ],
)
def test_bad_columns(columns: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        OutlierLinear.from_float(np.ones((2, 20), np.float32), outlier_columns=columns)


def test_what_it_refuses(rng: np.random.Generator) -> None:
    layer, weight, _ = make(rng)
    with pytest.raises(ValueError, match=r"x: expected float values, which outliers need"):
        layer(octavo.quantize(rng.normal(0, 1, (2, 20)).astype(np.float32)))
    with pytest.raises(ValueError, match="output_scale: expected none"):
        OutlierLinear.from_float(weight, outlier_columns=[1], output_scale=0.1)
    state = layer.state_dict()
    with pytest.raises(ValueError, match="outlier_weight: expected shape"):
        OutlierLinear.from_state_dict({**state, "outlier_weight": np.ones((12, 2), np.float32)})
    bad = np.full((12, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match="outlier_weight: expected finite"):
        OutlierLinear.from_state_dict({**state, "outlier_weight": bad})
