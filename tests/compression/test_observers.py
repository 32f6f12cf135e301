# SPDX-License-Identifier: Apache-2.0
"""Observers against the same question asked of all values at once; their memory; bad input."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import octavo
from octavo.algorithms.observers import (
    MSE,
    OBSERVERS,
    ColumnAbsMax,
    Entropy,
    Histogram,
    MinMax,
    MovingAverage,
    Percentile,
)
from octavo.algorithms.observers.entropy import divergences

EVERY = pytest.mark.parametrize("kind", OBSERVERS.values(), ids=OBSERVERS)
SYMMETRIC = pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])


def streams(size: int = 20_000) -> dict[str, np.ndarray]:
    """Values as layers read them."""
    rng = np.random.default_rng(3)
    normal = rng.standard_normal(size)
    outliers = normal.copy()
    outliers[:: size // 8] *= 15
    gelu = 0.5 * normal * (1 + np.tanh(0.8 * normal))
    parts = {
        "normal": normal,
        "outliers": outliers,
        "gelu": 3 * gelu,
        "relu": np.maximum(normal, 0),
        "negative": -np.abs(rng.laplace(size=size)),
        "shifted": normal + 5,
        "few levels": rng.integers(-3, 9, size).astype(float),
    }
    return {name: values.astype(np.float32) for name, values in parts.items()}


STREAMS = streams()
EVERY_STREAM = pytest.mark.parametrize("values", STREAMS.values(), ids=STREAMS)


def ragged(values: np.ndarray) -> list[np.ndarray]:
    """The same values in batches of many shapes."""
    parts = np.split(values, [1, 1, 60, 1000, 1001, 9000])
    return [parts[0].reshape(()), *parts[1:3], parts[3].reshape(2, -1, 5), *parts[4:]]


def fed(observer: Any, values: np.ndarray) -> Any:
    for batch in ragged(values):
        observer.update(batch)
    return observer


def squared_error(values: np.ndarray, scale: float, point: int, symmetric: bool) -> float:
    """Mean squared error of quantizing and dequantizing, in float64."""
    x = values.astype(np.float64)
    codes = np.clip(np.rint(x / scale) + point, -127 if symmetric else -128, 127)
    return float(np.square((codes - point) * scale - x).mean())


@EVERY_STREAM
def test_a_histogram_is_exact_whatever_the_order(values: np.ndarray) -> None:
    ascending, parts, halves = Histogram(), Histogram(), [Histogram(), Histogram()]
    ascending.update(values[np.argsort(np.abs(values))])
    for part in ragged(values):
        parts.update(part)
    for half, own in zip(halves, np.split(values, 2), strict=True):
        half.update(own)
    halves[0].merge(halves[1])
    width = ascending.width
    bins = np.floor(values.astype(np.float64) / width).astype(int) + 8192
    expected = np.bincount(bins, minlength=16384)
    for histogram in (ascending, parts, halves[0]):
        assert histogram.width == width <= 2 * np.abs(values).max() / 8192
        np.testing.assert_array_equal(histogram.counts, expected)
        assert (histogram.low, histogram.high) == (min(values.min(), 0), max(values.max(), 0))
    counts, edges, wide = ascending.filled(100)
    assert len(counts) <= 100
    assert counts[0] * counts[-1] > 0
    found = np.searchsorted(edges, values, side="right") - 1
    np.testing.assert_array_equal(np.bincount(found, minlength=len(counts)), counts)
    np.testing.assert_array_equal(np.diff(edges), wide)


def test_more_values_than_are_binned_at_a_time(rng: np.random.Generator) -> None:
    values = rng.standard_normal((1 << 18) + 77).astype(np.float32)
    histogram = Histogram()
    histogram.update(values)
    bins = np.floor(values.astype(np.float64) / histogram.width).astype(int) + 8192
    np.testing.assert_array_equal(histogram.counts, np.bincount(bins, minlength=16384))


@SYMMETRIC
@EVERY_STREAM
def test_min_max_is_the_scale_of_the_whole(values: np.ndarray, symmetric: bool) -> None:
    scale, point = fed(MinMax(), values).scale_zero_point(symmetric)
    whole = octavo.quantize(values, symmetric=symmetric)
    assert (np.float32(scale), point) == (whole.scale, whole.zero_point)


def test_moving_average() -> None:
    low = high = None
    observer = MovingAverage(0.75)
    for batch in ragged(STREAMS["normal"]):
        observer.update(batch)
        if batch.size:
            now = float(batch.min()), float(batch.max())
            low = now[0] if low is None else 0.75 * low + 0.25 * now[0]
            high = now[1] if high is None else 0.75 * high + 0.25 * now[1]
    assert low is not None
    assert observer.range() == pytest.approx((min(low, 0), high))
    one, other = MovingAverage(0.5), MovingAverage(0.5)
    for value in (1.0, 3.0):
        one.update([value])
    other.update([8.0])
    one.merge(other)
    assert one.range() == pytest.approx((0, (2 * 2 + 8) / 3))
    assert one.count == 3


@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.9, 99.99, 100.0])
@EVERY_STREAM
def test_percentiles_are_right_to_within_a_bin(values: np.ndarray, percentile: float) -> None:
    observer = fed(Percentile(percentile), values)
    width = observer.histogram.width

    def exact(of: np.ndarray, share: float) -> float:
        return float(np.quantile(of, share, method="inverted_cdf"))

    out = (1 - percentile / 100) / 2
    low, high = observer.range()
    assert low == pytest.approx(min(exact(values, out), 0), abs=width)
    assert high == pytest.approx(max(exact(values, 1 - out), 0), abs=width)
    limit = observer.range(symmetric=True)[1]
    assert limit == pytest.approx(exact(np.abs(values), percentile / 100), abs=width)


@SYMMETRIC
@EVERY_STREAM
def test_mse_is_as_good_as_a_search(values: np.ndarray, symmetric: bool) -> None:
    found = squared_error(
        values, *fed(MSE(), values).scale_zero_point(symmetric), symmetric=symmetric
    )
    best = np.inf
    shares = np.geomspace(0.05, 1, 24)
    for low in [1.0] if symmetric else shares:
        for high in shares:
            ends = np.array([low * min(values.min(), 0), high * max(values.max(), 0)], np.float32)
            if symmetric:
                ends = np.array([high * np.abs(values).max()], np.float32)
            q = octavo.quantize(ends, symmetric=symmetric)
            error = squared_error(values, float(q.scale), int(q.zero_point), symmetric)
            best = min(best, error)
    assert found <= 1.03 * best + 1e-12


def plain_divergence(counts: np.ndarray, start: int, end: int, levels: int) -> float:
    """KL(P || Q) as Migacz's slides tell it, bin by bin."""
    p = counts[start:end].astype(float)
    p[0] += counts[:start].sum()
    p[-1] += counts[end:].sum()
    q = np.zeros(end - start)
    bounds = np.rint(np.arange(levels + 1) * (end - start) / levels).astype(int)
    for first, last in pairwise(bounds):
        used = p[first:last] > 0
        if used.any():
            q[first:last][used] = counts[start:end][first:last].sum() / used.sum()
    p, q = p / p.sum(), q / q.sum()
    if (q[p > 0] == 0).any():
        return float(np.inf)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@pytest.mark.parametrize("levels", [7, 16])
def test_divergences_of_all_windows_at_once(rng: np.random.Generator, levels: int) -> None:
    counts = rng.poisson(np.exp(-(np.linspace(-3, 3, 60) ** 2)) * 20)
    counts[[2, 58]] = 3
    starts = rng.integers(0, 30, 40)
    ends = starts + rng.integers(levels, 31, 40)
    expected = [plain_divergence(counts, a, b, levels) for a, b in zip(starts, ends, strict=True)]
    assert np.isinf(expected).any()
    found = divergences(counts, starts, ends, levels)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_entropy_takes_the_smallest_divergence() -> None:
    values = STREAMS["outliers"]
    observer = fed(Entropy(), values)
    limit = observer.range(symmetric=True)[1]
    largest = float(np.abs(values).max())
    width = observer.histogram.filled(2048)[2]
    bins = np.floor(np.abs(values.astype(np.float64)) / width).astype(int)
    counts = np.bincount(bins)
    windows = range(128, len(counts) + 1)
    every = [plain_divergence(counts, 0, end, 128) for end in windows]
    assert limit == pytest.approx(min(windows[int(np.argmin(every))] * width, largest), abs=width)
    assert limit < 0.6 * largest


@pytest.mark.parametrize("symmetric", [False, True])
def test_zeros_of_relu_do_not_decide_the_entropy(rng: np.random.Generator, symmetric: bool) -> None:
    values = np.maximum(rng.standard_normal(300_000), 0).astype(np.float32)
    assert fed(Entropy(), values).range(symmetric)[1] > 3


@SYMMETRIC
@EVERY
def test_halves_merge_into_the_whole(kind: Any, symmetric: bool) -> None:
    for values in STREAMS.values():
        one, other, whole = kind(), kind(), kind()
        for part, target in zip(np.split(values, 2), (one, other), strict=True):
            target.update(part)
            whole.update(part)
        before = other.range(symmetric)
        one.merge(other)
        assert other.range(symmetric) == before
        assert one.count == whole.count == values.size
        if kind is not MovingAverage:
            assert one.range(symmetric) == whole.range(symmetric)
        empty = kind()
        one.merge(empty)
        empty.merge(one)
        assert empty.range(symmetric) == one.range(symmetric)


@SYMMETRIC
@EVERY
def test_ranges_hold_zero_and_lie_within_the_data(kind: Any, symmetric: bool) -> None:
    for name, values in STREAMS.items():
        observer = fed(kind(), values)
        low, high = observer.range(symmetric)
        assert low <= 0 <= high, name
        if symmetric:
            assert low == -high
            assert high <= np.abs(values).max()
        else:
            assert low >= min(values.min(), 0)
            assert high <= max(values.max(), 0)
        scale, point = observer.scale_zero_point(symmetric)
        assert scale == np.float32(scale) > 0
        assert point == 0 if symmetric else -128 <= point <= 127


@SYMMETRIC
@EVERY
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -2.5, 1e-30, 1e-42, 3e38, -3e38])
def test_constant_values_survive(kind: Any, symmetric: bool, value: float) -> None:
    observer = kind()
    for _ in range(3):
        observer.update(np.full((4, 5), value, np.float32))
    scale, point = observer.scale_zero_point(symmetric)
    code = octavo.quantize_linear(np.array([value], np.float32), np.float32(scale), point)
    back = octavo.dequantize_linear(code, np.float32(scale), point)
    step = max(abs(value) / 127, 2e-38)
    assert abs(float(back[0]) - np.float32(value)) <= 1.01 * step


@EVERY
def test_growing_magnitudes(kind: Any) -> None:
    """From subnormal to almost the largest number, and zeros before anything else."""
    observer = kind()
    observer.update(np.zeros(10, np.float32))
    for exponent in range(-45, 39, 3):
        observer.update(np.float32([10.0**exponent, -(10.0**exponent)]))
    low, high = observer.range()
    assert np.isfinite([low, high]).all()
    assert observer.count == 10 + 2 * 28


@EVERY
def test_memory_does_not_grow(kind: Any, rng: np.random.Generator) -> None:
    batch = rng.standard_normal((20, 64)).astype(np.float32)
    observer = kind()
    observer.update(batch)
    peaks = []
    tracemalloc.start()
    try:
        for count in (3, 300):
            tracemalloc.reset_peak()
            for index in range(count):
                observer.update(batch * np.float32(1 + index))
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert observer.count == 304 * batch.size
    assert peaks[1] <= peaks[0] + 10_000


@EVERY
def test_nothing_seen_and_bad_values(kind: Any) -> None:
    observer = kind(name="layer 'dense': calibration")
    with pytest.raises(ValueError, match=r"layer 'dense': calibration: expected values before"):
        observer.scale_zero_point()
    observer.update(np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match="got none"):
        observer.range()
    observer.update([1.0, -1.0])
    before = observer.range(), observer.count
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=r"layer 'dense': .* finite values, got NaN or inf"):
            observer.update(np.array([[9.0, bad]], np.float32))
    with pytest.raises(TypeError, match=r"layer 'dense': .* expected float32 or float16, got int"):
        observer.update(np.arange(4))
    with pytest.raises(TypeError, match="symmetric: expected True or False, got int"):
        observer.range(1)
    assert (observer.range(), observer.count) == before


def test_other_floats() -> None:
    for dtype in (np.float16, np.float64):
        observer = MinMax()
        observer.update(np.array([1.5, -0.25], dtype))
        assert observer.range() == (-0.25, 1.5)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match=r"percentile: expected a value in \(0, 100\], got 0"):
        Percentile(0)
    with pytest.raises(TypeError, match="percentile: expected a number, got str"):
        Percentile("99")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"momentum: expected a value in \[0, 1\), got 1"):
        MovingAverage(1)
    with pytest.raises(ValueError, match=r"expected Percentile\(percentile=99.0\) of other values"):
        Percentile(99.0).merge(Percentile(99.9))
    with pytest.raises(ValueError, match=r"got MSE\(\)"):
        Entropy().merge(MSE())


def test_columns(rng: np.random.Generator) -> None:
    x = rng.standard_normal((30, 7)).astype(np.float32)
    one, other = ColumnAbsMax(7), ColumnAbsMax(7)
    one.update(x[:10].reshape(2, 5, 7))
    other.update(x[10:])
    one.update(x[:0])
    one.merge(other)
    np.testing.assert_array_equal(one.values, np.abs(x).max(axis=0))
    assert one.rows == 30
    with pytest.raises(ValueError, match=r"x: expected shape \(..., 7\), got \(3,\)"):
        one.update(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="'a': expected finite values"):
        ColumnAbsMax(1, "'a'").update([[np.nan]])
    with pytest.raises(ValueError, match=r"other: expected a ColumnAbsMax\(7\)"):
        one.merge(ColumnAbsMax(6))
