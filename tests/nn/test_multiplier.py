# SPDX-License-Identifier: Apache-2.0
"""Input multipliers of linear layers: the bits of the product computed before, on every tier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octavo
from octavo import Linear
from octavo.nn import FloatLinear, SparseLinear
from reference import assert_same_bits

SIZES = [(1, 17, 33), (1, 64, 64), (3, 5, 1), (9, 33, 131), (40, 31, 64), (0, 3, 5), (3, 4, 0)]


def layers(
    rng: np.random.Generator, n: int, k: int, kind: type[Linear] = Linear, **options: Any
) -> tuple[Linear, Linear, np.ndarray]:
    """A layer with a multiplier, the same without, and the multiplier."""
    codes = rng.integers(-127, 128, (n, k)).astype(np.int8)
    codes[rng.random((n, k)) < 0.5] = 0
    multiplier = rng.uniform(0.01, 3, k).astype(np.float32)
    multiplier[2::7] = 0
    parts = (codes, rng.uniform(0.01, 0.1, n), rng.normal(0, 1, n))
    plain = kind.from_quantized(*parts, **options)
    return kind.from_quantized(*parts, input_multiplier=multiplier, **options), plain, multiplier


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"symmetric": True},
        {"input_scale": 0.02, "input_zero_point": -3},
        {"activation": "gelu", "output_scale": 0.1},
    ],
    ids=str,
)
def test_is_the_product_before(
    rng: np.random.Generator, size: Any, options: dict[str, Any]
) -> None:
    m, n, k = size
    layer, plain, multiplier = layers(rng, n, k, **options)
    x = rng.normal(0.2, 1, (m, k)).astype(np.float32)
    got, wanted = layer(x), plain(x * multiplier)
    if "output_scale" in options:
        got, wanted = got.data, wanted.data
    assert_same_bits(got, wanted)
    strided = np.repeat(x, 2, axis=0)[::2]
    assert_same_bits(np.asarray(getattr(layer(strided), "data", layer(strided))), got)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("form", ["dense", "windowed16", "windowed64", "bitmap"])
def test_in_every_format_on_every_thread(rng: np.random.Generator, form: str) -> None:
    layer, plain, multiplier = layers(rng, 80, 200, SparseLinear, format=form)
    for m in (1, 5, 70, 200):
        x = rng.normal(0.2, 1, (m, 200)).astype(np.float32)
        residual = rng.normal(0, 1, (m, 80)).astype(np.float32)
        assert_same_bits(layer(x, residual), plain(x * multiplier, residual))


@pytest.mark.usefixtures("isa")
def test_rows_that_are_not_finite(rng: np.random.Generator) -> None:
    layer, _, multiplier = layers(rng, 6, 20)
    x = rng.normal(0, 1, (5, 20)).astype(np.float32)
    clean = layer(x)
    x[1, 3], x[2, 2], x[3, 4] = np.nan, np.inf, 3e38
    assert multiplier[2] == 0
    y = layer(x)
    # An infinity meets a multiplier of 0, and a large value overflows: neither is quietly finite.
    assert np.isnan(y[1:3]).all()
    assert np.isnan(y[3]).all() == (multiplier[4] > 1.2)
    assert_same_bits(y[[0, 4]], clean[[0, 4]])


def test_what_it_says(rng: np.random.Generator) -> None:
    layer, plain, multiplier = layers(rng, 12, 50)
    assert_same_bits(layer.input_multiplier, multiplier)
    assert "input_multiplier=True" in repr(layer)
    assert "input_multiplier" not in repr(plain)
    assert plain.input_multiplier is None
    assert "input_multiplier" not in plain.state_dict()
    assert layer.nbytes == plain.nbytes + 4 * 50
    np.testing.assert_allclose(layer.weight, plain.weight * multiplier, rtol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        layer.input_multiplier[0] = 1  # type: ignore[index]


def test_the_float_layer(rng: np.random.Generator) -> None:
    weight = rng.normal(0, 1, (5, 9)).astype(np.float32)
    multiplier = rng.uniform(0.1, 2, 9).astype(np.float32)
    x = rng.normal(0, 1, (4, 9)).astype(np.float32)
    plain = FloatLinear(weight, np.ones(5), "relu")
    layer = FloatLinear(weight / multiplier, np.ones(5), "relu", multiplier)
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.merged().weight, weight, rtol=1e-6)
    assert layer.merged().input_multiplier is None
    assert plain.merged() is plain
    again = FloatLinear.from_state_dict(layer.state_dict(), **layer.config())
    assert_same_bits(again(x), layer(x))
    assert "input_multiplier=True" in repr(layer)


@pytest.mark.parametrize("kind", [Linear, SparseLinear, FloatLinear])
@pytest.mark.parametrize(
    ("multiplier", "message"),
    [
        (np.ones(3), r"input_multiplier: expected shape \(4,\), got \(3,\)"),
        (np.ones((4, 1)), r"input_multiplier: expected shape \(4,\), got \(4, 1\)"),
        (2.0, r"input_multiplier: expected shape \(4,\)"),
        ([1, np.nan, 1, 1], "input_multiplier: expected .*got nan"),
        ([1, np.inf, 1, 1], "input_multiplier: expected .*got inf"),
        ([1.0, -1.0, 1, 1], "input_multiplier: expected .*got -1"),
    ],
)
def test_bad_multipliers(kind: Any, multiplier: Any, message: str) -> None:
    values = np.asarray(multiplier, np.float32)
    with pytest.raises(ValueError, match=message):
        kind.from_float(np.ones((2, 4), np.float32), input_multiplier=values)


def test_words_are_no_multiplier() -> None:
    with pytest.raises(TypeError, match="input_multiplier"):
        Linear.from_float(np.ones((2, 4), np.float32), input_multiplier=np.array(["a"] * 4))


def test_codes_come_too_late(rng: np.random.Generator) -> None:
    layer, plain, _ = layers(rng, 3, 8)
    x = octavo.quantize(rng.normal(0, 1, (2, 8)).astype(np.float32))
    plain(x)
    with pytest.raises(ValueError, match=r"x: expected float values.*input_multiplier.*QTensor"):
        layer(x)
