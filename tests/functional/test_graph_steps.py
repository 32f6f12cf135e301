# SPDX-License-Identifier: Apache-2.0
"""Steps of graphs, against loops over single outputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graph_steps import Windows, run
from octavo import functional
from reference import assert_same_bits, fma

if TYPE_CHECKING:
    from octavo._types import Array

pytestmark = pytest.mark.usefixtures("isa", "threads")

F = np.float32
WINDOWS = [
    Windows((1, 1, 1, 3), (1, 1), (1, 1)),
    Windows((2, 5, 7, 6), (5, 7), (3, 3), padding=(1, 1)),
    Windows((1, 6, 5, 20), (3, 3), (3, 2), stride=(2, 2), padding=(0, 1)),
    Windows((2, 4, 9, 6), (3, 4), (2, 5), stride=(2, 3), padding=(1, 3)),
]
DILATED = Windows((1, 7, 7, 6), (7, 6), (3, 2), dilation=(2, 3), padding=(2, 2))
CODES = {"zero_point": -3, "out_zero_point": 5, "low": -100, "high": 90}
by_windows = pytest.mark.parametrize("windows", WINDOWS, ids=str)
by_all_windows = pytest.mark.parametrize("windows", [*WINDOWS, DILATED], ids=str)


def codes(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-128, 128, shape, np.int8)


def requantized(t: Array) -> Array:
    """Codes of float32 values, as CODES says."""
    point = CODES["out_zero_point"]
    t = np.clip(np.asarray(t, F), F(CODES["low"] - point), F(CODES["high"] - point))
    return (np.rint(t) + point).astype(np.int8)


def multipliers(rng: np.random.Generator, n: int, inputs: int) -> Array:
    """Multipliers that make codes of sums of so many products, some of them saturated."""
    return (rng.uniform(0.2, 2, n) / (60 * math.sqrt(inputs))).astype(F)


@by_all_windows
@pytest.mark.parametrize("groups", [1, 2])
def test_conv(rng: np.random.Generator, windows: Windows, groups: int) -> None:
    c, n = windows.shape[3], 2 * 17
    groups = math.gcd(groups, c)
    x, weight = codes(rng, *windows.shape), codes(rng, n, *windows.kernel, c // groups)
    bias = rng.integers(-2000, 2000, n, np.int32)
    multiplier = multipliers(rng, n, weight[0].size)
    expected = windows.out(n)
    for at, taps in windows.outputs():
        sums = bias.astype(np.int64)
        for (i, j), place in taps:
            rows = (x[place].astype(np.int64) - CODES["zero_point"]).reshape(groups, 1, -1)
            products = rows * weight[:, i, j].reshape(groups, n // groups, -1)
            sums += products.sum(axis=2).ravel()
        expected[at] = requantized(sums.astype(F) * multiplier)
    arguments = windows.arguments("kernel") | {"weight": weight, "multiplier": multiplier}
    found = run("conv", expected, {"x": x}, bias=bias, groups=groups, **arguments, **CODES)
    assert_same_bits(found, expected)


def test_sums_wrap(rng: np.random.Generator) -> None:
    """The bias is added modulo 2**32, whatever it is."""
    weight, bias = codes(rng, 3, 1, 1, 40), np.array([2**31 - 1, -(2**31), 0], np.int32)
    x = codes(rng, 5, 1, 1, 40)
    sums = (x[:, 0].astype(np.int32) + 3) @ weight[:, 0, 0].T.astype(np.int32) + bias
    multiplier = np.full(3, 2e-8, F)
    arguments = {"weight": weight, "bias": bias, "multiplier": multiplier}
    found = run("conv", x[..., :3], {"x": x}, shape=x.shape, size=(1, 1), **arguments, **CODES)
    assert_same_bits(found, requantized(sums.astype(F) * multiplier)[:, None])


@by_all_windows
@pytest.mark.parametrize("times", [1, 3])
def test_depthwise(rng: np.random.Generator, windows: Windows, times: int) -> None:
    c = windows.shape[3]
    x, weight = codes(rng, *windows.shape), codes(rng, *windows.kernel, c * times)
    multiplier = multipliers(rng, c * times, weight[..., 0].size)
    expected = windows.out(c * times)
    for at, taps in windows.outputs():
        sums = np.zeros(c * times, np.int32)
        for (i, j), place in taps:
            values = np.repeat(x[place].astype(np.int32) - CODES["zero_point"], times)
            sums += values * weight[i, j]
        expected[at] = requantized(sums.astype(F) * multiplier)
    arguments = windows.arguments("kernel") | {"weight": weight, "multiplier": multiplier}
    assert_same_bits(run("depthwise", expected, {"x": x}, **arguments, **CODES), expected)


@by_all_windows
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_f32(rng: np.random.Generator, windows: Windows, groups: int) -> None:
    c, n = windows.shape[3], 2 * 17
    groups = math.gcd(groups, c)
    x = rng.standard_normal(windows.shape, F)
    weight = rng.standard_normal((n, *windows.kernel, c // groups), F)
    bias = rng.standard_normal(n, F)
    expected, size = windows.out(n, np.float64), windows.out(n, np.float64)
    for at, taps in windows.outputs():
        for (i, j), place in taps:
            rows = x[place].astype(np.float64).reshape(groups, 1, -1)
            products = rows * weight[:, i, j].reshape(groups, n // groups, -1)
            expected[at] += products.sum(axis=2).ravel()
            size[at] += np.abs(products).sum(axis=2).ravel()
    bound = 2.0**-23 * (weight[0].size + 2) * (size + np.abs(bias))
    arguments = windows.arguments("kernel") | {"weight": weight, "bias": bias, "groups": groups}
    for low, high in ((-1.5, 2.5), (0.0, 1.5), (0.0, np.inf)):
        found = run("conv_f32", windows.out(n, F), {"x": x}, low=low, high=high, **arguments)
        assert np.all(np.abs(found - np.clip(expected + bias, low, high)) <= bound)


@by_all_windows
def test_conv_dynamic(rng: np.random.Generator, windows: Windows) -> None:
    """Images of their own ranges, and one that is not finite."""
    c, n = windows.shape[3], 5
    x = rng.standard_normal(windows.shape, F) * 3
    if len(x) > 1:
        x[-1, 0, 0, 0] = np.inf
    weight, bias = codes(rng, n, *windows.kernel, c), rng.standard_normal(n, F)
    scale = rng.uniform(0.01, 0.02, n).astype(F)
    q, x_scale, zero_point = functional.quantize_dynamic(x.reshape(len(x), -1))
    q = q.reshape(x.shape)
    expected = windows.out(n, F)
    for at, taps in windows.outputs():
        image, sums = at[0], np.zeros(n, np.int32)
        for (i, j), place in taps:
            row = q[place].astype(np.int32)
            sums += weight[:, i, j].astype(np.int32) @ (row - zero_point[image])
        y = sums.astype(F) * (x_scale[image] * scale) + bias
        expected[at] = np.where(y < -4, F(-4), y)
    arguments = windows.arguments("kernel") | {"weight": weight, "scale": scale, "bias": bias}
    found = run("conv_dynamic", expected, {"x": x}, low=-4.0, **arguments)
    assert_same_bits(found, expected)


@by_all_windows
def test_depthwise_f32(rng: np.random.Generator, windows: Windows) -> None:
    c = windows.shape[3]
    x, weight = (rng.standard_normal(s, F) for s in (windows.shape, (*windows.kernel, 2 * c)))
    bias = rng.standard_normal(2 * c, F)
    expected = windows.out(2 * c, F)
    for at, taps in windows.outputs():
        for channel in range(2 * c):
            total = F(0)
            for (i, j), place in taps:
                total = fma(x[place][channel // 2], weight[i, j, channel], total)
            expected[at][channel] = min(total + bias[channel], F(1))
    arguments = windows.arguments("kernel") | {"weight": weight, "bias": bias}
    assert_same_bits(run("depthwise_f32", expected, {"x": x}, high=1.0, **arguments), expected)


@by_windows
def test_pools(rng: np.random.Generator, windows: Windows) -> None:
    c = windows.shape[3]
    x, x_f32 = codes(rng, *windows.shape), rng.standard_normal(windows.shape, F)
    x_f32[0, 0, 0, 0] = np.nan
    mean, most, mean_f32, most_f32 = (windows.out(c, t) for t in (np.int8, np.int8, F, F))
    for at, taps in windows.outputs():
        values = np.stack([x[place] for _, place in taps]).astype(np.int32)
        sums = (values - CODES["zero_point"]).sum(axis=0).astype(F)
        mean[at] = requantized(sums * F(0.3 / (0.2 * len(taps))))
        most[at] = np.clip(values.max(axis=0), -50, 70)
        total = np.zeros(c, F)
        for _, place in taps:
            total = total + x_f32[place]
        mean_f32[at] = total / F(len(taps))
        most_f32[at] = np.stack([x_f32[place] for _, place in taps]).max(axis=0)
    arguments = windows.arguments("dilation")
    scales = {"scale": 0.3, "out_scale": 0.2}
    assert_same_bits(run("average_pool", mean, {"x": x}, **scales, **CODES, **arguments), mean)
    assert_same_bits(run("max_pool", most, {"x": x}, low=-50, high=70, **arguments), most)
    for step, expected in (("average_pool_f32", mean_f32), ("max_pool_f32", most_f32)):
        found = run(step, expected, {"x": x_f32}, low=-0.5, **arguments)
        assert_same_bits(found, np.where(expected < -0.5, F(-0.5), expected))


@pytest.mark.parametrize("b_shape", [(3, 5, 18), (1, 5, 18), (3, 1, 18), (1, 1, 18)], ids=str)
def test_sums_and_products(rng: np.random.Generator, b_shape: tuple[int, ...]) -> None:
    a, b = codes(rng, 3, 5, 18), codes(rng, *b_shape)
    rest = {"shape": a.shape, "b_shape": b_shape}
    points = {"a_zero_point": 4, "b_zero_point": -7, "out_zero_point": 5, "low": -100, "high": 90}
    left, right = a.astype(np.int32) - 4, b.astype(np.int32) + 7
    expected = requantized(left.astype(F) * F(0.7) + right.astype(F) * F(-0.31))
    factors = {"a_multiplier": 0.7, "b_multiplier": -0.31}
    assert_same_bits(run("add", a, {"a": a, "b": b}, **factors, **points, **rest), expected)
    expected = requantized((left * right).astype(F) * F(0.01))
    found = run("mul", a, {"a": a, "b": b}, multiplier=0.01, **points, **rest)
    assert_same_bits(found, expected)

    a_f32, b_f32 = rng.standard_normal(a.shape, F), rng.standard_normal(b_shape, F)
    a_f32[0, 0, :2] = -np.inf, np.nan
    for step, values in (("add_f32", a_f32 + b_f32), ("mul_f32", a_f32 * b_f32)):
        expected = np.where(values < 0, F(0), values)
        found = run(step, a_f32, {"a": a_f32, "b": b_f32}, low=0.0, **rest)
        assert_same_bits(found, expected)


@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (300, 64)], ids=str)
def test_element_by_element(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    x, table = codes(rng, *shape), codes(rng, 256)
    assert_same_bits(
        run("lookup", x, {"x": x}, count=x.size, table=table), table[x.astype(int) + 128]
    )

    alpha, v = codes(rng, shape[1]), (x.astype(np.int32) - CODES["zero_point"]).astype(F)
    below = v * (alpha.astype(np.int32) - 11).astype(F) * F(0.006)
    factors = {"multiplier": 0.8, "negative_multiplier": 0.006, "alpha_zero_point": 11}
    found = run("prelu", x, {"x": x}, shape=shape, alpha=alpha, **factors, **CODES)
    assert_same_bits(found, requantized(np.where(v < 0, below, v * F(0.8))))

    negative = rng.uniform(-0.5, 0.5, shape[1]).astype(F)
    values = rng.standard_normal(shape, F) * 4
    values[0, 0] = np.nan
    found = run("prelu_f32", values, {"x": values}, shape=shape, alpha=negative)
    assert_same_bits(found, np.where(values < 0, values * negative, values))
    found = run("activation_f32", values, {"x": values}, count=x.size, low=0.0, high=6.0)
    assert_same_bits(found, np.where(values < 0, F(0), np.where(values > 6, F(6), values)))
    found = run("activation_f32", values, {"x": values}, count=x.size, name="silu")
    assert_same_bits(found, functional.silu(values))
    found = run("activation_f32", values, {"x": values}, count=x.size, name="hard_swish")
    inner = np.clip(values + F(3), F(0), F(6))
    assert_same_bits(found, values * inner * F(1 / 6))
    found = run("activation_f32", values, {"x": values}, count=x.size, name="logistic")
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-values.astype(np.float64))), rtol=3e-7)


def test_codes_and_softmax(rng: np.random.Generator) -> None:
    x, q = rng.standard_normal((9, 50), F) * 5, codes(rng, 9, 50)
    found = run("quantize", q, {"x": x}, count=x.size, scale=0.05, zero_point=9)
    assert_same_bits(found, functional.quantize_linear(x, F(0.05), np.int8(9)))
    values = functional.dequantize_linear(q, F(0.05), np.int8(9))
    found = run("dequantize", x, {"x": q}, count=x.size, scale=0.05, zero_point=9)
    assert_same_bits(found, values)
    assert_same_bits(run("softmax_f32", x, {"x": x}, shape=x.shape), functional.softmax(x))
    scales = {"scale": 0.05, "zero_point": 9, "out_scale": 1 / 256, "out_zero_point": -128}
    found = run("softmax", q, {"x": q}, shape=q.shape, **scales)
    p = functional.softmax(values)
    assert_same_bits(found, functional.quantize_linear(p, F(1 / 256), np.int8(-128)))


RESIZES: list[dict[str, Any]] = [
    {"method": "bilinear"},
    {"method": "bilinear", "half_pixel_centers": True},
    {"method": "bilinear", "align_corners": True},
    {"method": "nearest"},
    {"method": "nearest", "half_pixel_centers": True},
    {"method": "nearest", "align_corners": True},
]


def place(y: int, extent: int, size: int, options: dict[str, Any]) -> float:
    """Where output y lies among the inputs."""
    ends = options.get("align_corners") and size > 1
    scale = (extent - 1) / (size - 1) if ends else extent / size
    half = 0.5 if options.get("half_pixel_centers") else 0.0
    if options["method"] == "nearest":
        at = (y + half) * scale + (0.5 if options.get("align_corners") else 0.0)
        return min(math.floor(at + 1e-6), extent - 1)
    return min(max((y + half) * scale - half, 0.0), extent - 1)


@pytest.mark.parametrize("options", RESIZES, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (8, 14), (3, 5), (11, 3)], ids=str)
def test_resize(rng: np.random.Generator, size: tuple[int, int], options: dict[str, Any]) -> None:
    x = rng.standard_normal((2, 4, 7, 5), F)
    q = codes(rng, *x.shape)
    rest = {"shape": x.shape, "size": size, **options}
    found = run("resize_f32", np.zeros((2, *size, 5), F), {"x": x}, **rest)
    found_codes = run("resize", np.zeros((2, *size, 5), np.int8), {"x": q}, **rest)
    for i, j in np.ndindex(size):
        y, z = place(i, 4, size[0], options), place(j, 7, size[1], options)
        t = np.zeros((2, 5))
        t_codes = np.zeros((2, 5))
        for row, column in np.ndindex(4, 7):
            share = max(0.0, 1 - abs(row - y)) * max(0.0, 1 - abs(column - z))
            t += share * x[:, row, column]
            t_codes += share * q[:, row, column].astype(float)
        np.testing.assert_allclose(found[:, i, j], t, atol=2e-6)
        np.testing.assert_allclose(found_codes[:, i, j], t_codes, atol=0.5001)


def test_copies(rng: np.random.Generator) -> None:
    """A slice of an image into the middle of another, filled before; and an image turned."""
    x = codes(rng, 2, 5, 6, 8)
    filled = np.full((2, 9, 10, 8), 7, np.int8)
    assert_same_bits(run("fill", filled, {}, count=filled.size, value=np.int8([7])), filled)
    found = run(
        *("copy", np.zeros((2, 6, 5, 8), np.int8), {"x": x}),
        shape=(2, 6, 5, 8),
        x_strides=(240, 8, 48),
        out_strides=(240, 40, 8),
    )
    assert_same_bits(found, x.transpose(0, 2, 1, 3))
    ones = run("fill", np.ones(3, F), {}, count=3, value=F([2.5]))
    assert_same_bits(ones, np.full(3, 2.5, F))
