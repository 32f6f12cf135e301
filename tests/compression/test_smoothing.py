# SPDX-License-Identifier: Apache-2.0
"""octavo.algorithms.smoothing on arrays: published formulas, exact folds, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octavo
from octavo.algorithms import smoothing
from octavo.algorithms.smoothing import InputRanges, MeanError
from reference import assert_same_bits


def seen(x: Any, **options: Any) -> InputRanges:
    inputs = InputRanges(np.shape(x)[-1], **options)
    inputs.update(np.asarray(x, np.float32))
    return inputs


def test_ranges_do_not_depend_on_batches(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, (9000, 6)).astype(np.float32)
    whole, parts = seen(x, samples=50), InputRanges(6, samples=50)
    for part in (x[:1].reshape(1, 1, 6), x[1:4200], x[4200:4200], x[4200:]):
        parts.update(part)
    for inputs in (whole, parts):
        assert inputs.rows == 9000
        assert_same_bits(inputs.largest, np.abs(x).max(axis=0))
        np.testing.assert_allclose(inputs.rms(), np.sqrt(np.square(x).mean(axis=0)), rtol=1e-5)
        sample = inputs.sample()
        assert sample.shape == (50, 6)
        assert len({row.tobytes() for row in sample} & {row.tobytes() for row in x}) == 50
    assert_same_bits(whole.sample(), parts.sample())


def test_the_sample_is_even(rng: np.random.Generator) -> None:
    inputs = InputRanges(1, samples=300)
    for start in range(0, 3000, 100):
        inputs.update(np.arange(start, start + 100, dtype=np.float32)[:, None])
    kept = inputs.sample()[:, 0]
    assert (np.histogram(kept, bins=3, range=(0, 3000))[0] > 60).all()


def test_scaled_ranges_are_those_of_the_product(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, (40, 5)).astype(np.float32)
    multiplier = np.array([0, 0.5, 1, 2, 4], np.float32)
    inputs, wanted = seen(x), seen(x * multiplier)
    inputs.scale(multiplier)
    assert_same_bits(inputs.largest, wanted.largest)
    assert_same_bits(inputs.sample(), wanted.sample())
    np.testing.assert_allclose(inputs.rms(), wanted.rms(), rtol=1e-6)
    with pytest.raises(ValueError, match="multiplier: expected values of at least 0"):
        inputs.scale(-multiplier)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("statistic", ["max", "rms"])
def test_smoothquants_formula(rng: np.random.Generator, alpha: float, statistic: str) -> None:
    x = (rng.normal(0, 1, (60, 9)) * np.geomspace(0.1, 50, 9)).astype(np.float32)
    weight = rng.normal(0, 1, (7, 9)).astype(np.float32)
    multiplier = smoothing.smoothing_multiplier(weight, seen(x), alpha, statistic)
    size = {
        "max": lambda a: np.abs(a).max(axis=0),
        "rms": lambda a: np.sqrt(np.square(a).mean(axis=0)),
    }[statistic]
    s = size(x) ** alpha / size(weight) ** (1 - alpha)
    np.testing.assert_allclose(multiplier * s, np.full(9, (multiplier * s)[0]), rtol=1e-4)
    np.testing.assert_allclose(np.log(multiplier).mean(), 0, atol=1e-5)
    product = (x * multiplier) @ (weight / multiplier).T
    np.testing.assert_allclose(product, x @ weight.T, rtol=1e-3, atol=1e-3)


def test_zero_channels_get_a_finite_multiplier() -> None:
    x = np.array([[0.0, 2.0, 8.0, 0.0]], np.float32)
    weight = np.array([[1.0, 0.0, 4.0, 0.0]], np.float32)
    for statistic in ("max", "rms"):
        multiplier = smoothing.smoothing_multiplier(weight, seen(x), 0.5, statistic)
        assert np.isfinite(multiplier).all()
        assert (multiplier > 0).all()
        assert np.isfinite(weight / multiplier).all()
    nothing = smoothing.smoothing_multiplier(np.zeros((2, 3)), seen(np.zeros((1, 3))))
    assert_same_bits(nothing, np.ones(3, np.float32))


def test_extreme_channels_stay_in_range() -> None:
    x = np.array([[1e-38, 1e38, 1.0]], np.float32)
    weight = np.array([[1e30, 1e-30, 1.0]], np.float32)
    multiplier = smoothing.smoothing_multiplier(weight, seen(x), 0.5)
    assert (multiplier >= 2.0**-20).all()
    assert (multiplier <= 2.0**20).all()
    assert np.isfinite(weight / multiplier).all()


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"static": True}], ids=str)
def test_the_search_does_not_lose_to_any_alpha(
    rng: np.random.Generator, options: dict[str, bool]
) -> None:
    x = (rng.normal(0, 1, (80, 24)) * np.geomspace(0.2, 20, 24)).astype(np.float32)
    weight = rng.normal(0, 1, (16, 24)).astype(np.float32)
    inputs = seen(x)
    best = smoothing.best_multiplier(weight, inputs, **options)
    assert best is not None

    def error(multiplier: Any) -> float:
        static = {}
        if options.get("static"):
            product = x * multiplier
            low, high = float(product.min()), float(product.max())
            scale = (high - low) / 255
            static = {"input_scale": scale, "input_zero_point": round(-128 - low / scale)}
        layer = octavo.Linear.from_float(
            weight / multiplier,
            input_multiplier=multiplier,
            symmetric=options.get("symmetric", False),
            **static,
        )
        return float(np.square(layer(x) - x @ weight.T).sum())

    tried = [(0.5, "max"), (0.3, "rms"), (0.6, "rms")]
    others = [smoothing.smoothing_multiplier(weight, inputs, *one) for one in tried]
    assert error(best) <= min(map(error, others))
    assert error(best) < error(np.ones(24, np.float32))


def test_the_search_may_find_nothing() -> None:
    x = np.zeros((4, 8), np.float32)
    assert smoothing.best_multiplier(np.ones((4, 8), np.float32), seen(x)) is None


def test_folds_leave_the_product_alone(rng: np.random.Generator) -> None:
    first = (rng.normal(0, 1, (9, 5)) * np.geomspace(0.01, 10, 9)[:, None]).astype(np.float32)
    second = rng.normal(0, 1, (4, 9)).astype(np.float32)
    first[3], second[:, 6] = 0, 0
    bias = rng.normal(0, 1, 9).astype(np.float32)
    x = rng.normal(0, 1, (11, 5)).astype(np.float32)
    scale = smoothing.equalizing_scale(first, second)
    assert scale[3] == scale[6] == 1
    made, shifted, read = smoothing.fold(first, bias, second, scale)
    used = [i for i in range(9) if i not in (3, 6)]
    ranges = np.abs(made).max(axis=1)[used], np.abs(read).max(axis=0)[used]
    np.testing.assert_allclose(*ranges, rtol=1e-5)
    before = np.maximum(x @ first.T + bias, 0) @ second.T
    after = np.maximum(x @ made.T + shifted, 0) @ read.T
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    assert smoothing.fold(first, None, second, scale)[1] is None


def test_a_bias_takes_up_the_mean_error(rng: np.random.Generator) -> None:
    wanted = rng.normal(0, 1, (100, 6)).astype(np.float32)
    shift = rng.normal(0, 1, 6).astype(np.float32)
    error = MeanError(6)
    error.update(wanted[:30] + shift, wanted[:30])
    error.update(wanted[30:].reshape(2, 35, 6) + shift, wanted[30:].reshape(2, 35, 6))
    assert error.rows == 100
    np.testing.assert_allclose(error.mean(), -shift, atol=1e-6)
    np.testing.assert_allclose(error.corrected(shift), np.zeros(6), atol=1e-6)


def test_outliers_reach_the_threshold() -> None:
    inputs = seen([[5.9, -6.0, 0.0, 7.0]])
    assert_same_bits(smoothing.outlier_columns(inputs), np.array([1, 3]))
    assert smoothing.outlier_columns(inputs, 8).size == 0
    assert smoothing.outlier_columns(inputs, 8).dtype == np.int64


W, X = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: InputRanges(0), ValueError, "width"),
        (lambda: InputRanges(3, samples=-1), ValueError, "samples"),
        (lambda: InputRanges(3).update(np.ones((2, 4), np.float32)), ValueError, r"\(..., 3\)"),
        (lambda: InputRanges(3).update([[1, np.nan, 1.0]]), ValueError, "x: expected finite"),
        (lambda: InputRanges(3).rms(), ValueError, "at least one row"),
        (lambda: InputRanges(3).sample(), ValueError, "at least one row"),
        (lambda: smoothing.smoothing_multiplier(W, InputRanges(3)), ValueError, "at least one row"),
        (lambda: smoothing.smoothing_multiplier(W, X), TypeError, "inputs: expected InputRanges"),
        (lambda: smoothing.smoothing_multiplier(W[:, :2], seen(X)), ValueError, "weight: expected"),
        (lambda: smoothing.smoothing_multiplier(W * np.nan, seen(X)), ValueError, "weight: .*fin"),
        (lambda: smoothing.smoothing_multiplier(W, seen(X), 0), ValueError, r"alpha: .*\(0, 1\]"),
        (lambda: smoothing.smoothing_multiplier(W, seen(X), 1.1), ValueError, "alpha: expected"),
        (lambda: smoothing.smoothing_multiplier(W, seen(X), "a"), TypeError, "alpha: expected"),
        (lambda: smoothing.smoothing_multiplier(W, seen(X), 0.5, "l1"), ValueError, "statistic"),
        (lambda: smoothing.best_multiplier(W, InputRanges(3)), ValueError, "at least one row"),
        (lambda: smoothing.equalizing_scale(W, W), ValueError, "second: expected shape"),
        (lambda: smoothing.equalizing_scale(W * np.inf, W), ValueError, "first: expected finite"),
        (lambda: smoothing.fold(W, None, W.T, np.zeros(2)), ValueError, "scale: expected positive"),
        (lambda: smoothing.fold(W, None, W.T, np.ones(3)), ValueError, "scale: expected shape"),
        (lambda: smoothing.fold(W, np.ones(3), W.T, np.ones(2)), ValueError, "bias: expected"),
        (lambda: smoothing.outlier_columns(seen(X), 0), ValueError, "threshold: expected"),
        (lambda: smoothing.outlier_columns(X), TypeError, "inputs: expected InputRanges"),
        (lambda: smoothing.outlier_columns(InputRanges(3)), ValueError, "at least one row"),
        (lambda: MeanError(3).mean(), ValueError, "at least one row of outputs"),
        (lambda: MeanError(3).update(X, X[:2]), ValueError, "got: expected as many rows"),
        (lambda: MeanError(3).update(X * np.nan, X), ValueError, "got: expected finite"),
    ],
)
def test_bad_input(call: Any, error: Any, message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(error, match=message):
        call()
