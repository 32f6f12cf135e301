# SPDX-License-Identifier: Apache-2.0
"""What every backend must return, written one element at a time: obvious, slow, independent.

Integers are Python's, so nothing overflows; floats are NumPy float32 scalars, so every operation
rounds once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

F = np.float32
Array = np.ndarray[Any, np.dtype[Any]]


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Equal dtype, shape and bits; any NaN equals any NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, (actual.dtype, expected.dtype)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if actual.dtype.kind == "f":
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        integer = f"i{actual.dtype.itemsize}"
        nan = np.isnan(actual)
        actual = np.where(nan, 0, np.ascontiguousarray(actual).view(integer))
        expected = np.where(nan, 0, np.ascontiguousarray(expected).view(integer))
    np.testing.assert_array_equal(actual, expected)


def _rint(value: float) -> int:
    """Round half to even; Python's round does."""
    return round(value)


def saturate(value: float, zero_point: int, low: int, high: int) -> int:
    """clip(rint(value) + zero_point, low, high), for any float."""
    if math.isnan(value):
        return min(max(zero_point, low), high)
    if math.isinf(value):
        return high if value > 0 else low
    return min(max(_rint(value) + zero_point, low), high)


def quantize_linear(x: Array, scale: Array, zero_point: Array, dtype: str) -> Array:
    """`scale` and `zero_point` have the shape of `x` here; the division is in scale's dtype."""
    limits = np.iinfo(dtype)
    out = np.empty(x.shape, dtype)
    with np.errstate(all="ignore"):
        for i in np.ndindex(x.shape):
            quotient = x[i].astype(scale.dtype) / scale[i]
            assert quotient.dtype == scale.dtype
            point = int(zero_point[i])
            out[i] = saturate(float(quotient), point, int(limits.min), int(limits.max))
    return out


def dequantize_linear(q: Array, scale: Array, zero_point: Array) -> Array:
    """`scale` and `zero_point` have the shape of `q` here."""
    out = np.empty(q.shape, scale.dtype)
    with np.errstate(all="ignore"):
        for i in np.ndindex(q.shape):
            out[i] = F(int(q[i]) - int(zero_point[i])) * F(scale[i])
    return out


def spread(values: Array, shape: tuple[int, ...], axis: int, block_size: int | None) -> Array:
    """Parameters along an axis, or blocked, as an array of `shape`."""
    if block_size is None:
        column = [1] * len(shape)
        column[axis] = -1
        return np.broadcast_to(values.reshape(column), shape)
    index = np.arange(shape[axis]) // block_size
    return np.take(values, index, axis=axis)


def quantize_row(row: Array, symmetric: bool) -> tuple[list[int], np.float32, int]:
    """Codes, scale and zero point of one row."""
    if not np.isfinite(row).all():
        return [0] * len(row), F("nan"), 0
    lo, hi = F(min([0, *row.tolist()])), F(max([0, *row.tolist()]))
    with np.errstate(all="ignore"):
        if symmetric:
            top = max(-lo, hi)
            empty, scale = top == 0, top / F(127)
        else:
            width = hi - lo
            empty, scale = width == 0, width / F(255)
            if np.isinf(width):
                scale = hi / F(255) - lo / F(255)
    tiny = np.finfo(np.float32).tiny
    scale = F(1) if empty else max(scale, tiny)
    inverse = F(1) / scale
    point, low = 0, -127
    if not symmetric:
        low = -128
        point = min(max(_rint(float(F(-128) - lo * inverse)), -128), 127)
    codes = [min(max(_rint(float(value * inverse)) + point, low), 127) for value in row]
    return codes, scale, point


def quantize_dynamic(x: Array, symmetric: bool) -> tuple[Array, Array, Array]:
    """All rows of a matrix."""
    rows = [quantize_row(row, symmetric) for row in x]
    codes = np.array([r[0] for r in rows], np.int8).reshape(x.shape)
    return codes, np.array([r[1] for r in rows], F), np.array([r[2] for r in rows], np.int32)


def matmul_int8(a: Array, b: Array, a_zero_point: Any = 0, b_zero_point: Any = 0) -> Array:
    """Exact in int64; zero points broadcast as columns of a and rows of b."""
    product = (a.astype(np.int64) - a_zero_point) @ (b.astype(np.int64) - b_zero_point)
    assert np.abs(product).max(initial=0) < 2**31
    return product.astype(np.int32)


def exp(x: Any) -> Any:
    """float32 to float32."""
    if np.isnan(x):
        return x
    x = min(max(x, F(-87.33654)), F(88))
    n = np.rint(x * F(1.44269504))
    r = x - n * F(0.693359375)
    r = r - n * F(-2.12194440e-4)
    p = F(1.9875691500e-4)
    p = p * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    y = p * (r * r) + r
    y = y + F(1)
    return y * F(2.0 ** int(n))


def sigmoid(x: Any) -> Any:
    return F(1) / (F(1) + exp(-x))


def gelu(x: Any) -> Any:
    z = x * F(0.70710678)
    a = abs(z)
    t = F(1) / (F(1) + F(0.3275911) * a)
    p = F(1.061405429) * t - F(1.453152027)
    p = p * t + F(1.421413741)
    p = p * t - F(0.284496736)
    p = p * t + F(0.254829592)
    p = p * t
    q = F(0.5) * (p * exp(-(a * a)))
    return x * (q if x < 0 else F(1) - q)


def gelu_tanh(x: Any) -> Any:
    u = F(0.79788456) * (x + F(0.044715) * ((x * x) * x))
    return x * sigmoid(F(2) * u)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "none": lambda x: x,
    "relu": lambda x: F(0) if x < 0 else x,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x * sigmoid(x),
    "tanh": lambda x: F(2) * sigmoid(F(2) * x) - F(1),
}


def activation(x: Array, name: str) -> Array:
    out = np.empty(x.shape, F)
    with np.errstate(all="ignore"):
        for i in np.ndindex(x.shape):
            out[i] = ACTIVATIONS[name](x[i])
    return out


def row_sum(values: Any) -> Any:
    """16 lanes from +0.0, folded by halves."""
    lanes = [F(0)] * 16
    for i, value in enumerate(values):
        lanes[i % 16] = lanes[i % 16] + value
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return lanes[0]


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, residual: Array | None
) -> Array:
    """Rows of a matrix."""
    out = np.empty(x.shape, F)
    n = F(x.shape[1])
    with np.errstate(all="ignore"):
        for i, row in enumerate(x):
            v = [a if residual is None else a + residual[i, j] for j, a in enumerate(row)]
            mean = row_sum(v) / n
            d = [a - mean for a in v]
            rstd = F(1) / np.sqrt(row_sum([a * a for a in d]) / n + F(eps))
            for j, a in enumerate(d):
                y = a * rstd
                y = y if weight is None else y * weight[j]
                out[i, j] = y if bias is None else y + bias[j]
    return out


def softmax_row(row: Any) -> list[Any]:
    with np.errstate(all="ignore"):
        top = F("nan") if np.isnan(row).any() else max(row)
        e = [exp(value - top) for value in row]
        total = row_sum(e)
        return [value / total for value in e]


def softmax(x: Array) -> Array:
    """Rows of a matrix."""
    return np.array([softmax_row(row) for row in x], F).reshape(x.shape)


def attention(q: Array, k: Array, v: Array, mask: Array | None, heads: int, scale: float) -> Array:
    """One sum at a time."""
    out = np.zeros(q.shape, F)
    width = q.shape[2] // heads
    for b, i, h in np.ndindex(q.shape[0], q.shape[1], heads):
        columns = range(h * width, (h + 1) * width)
        keys = [j for j in range(k.shape[1]) if mask is None or mask[b, j]]
        if not keys:
            continue
        scores = []
        for j in keys:
            total = F(0)
            for d in columns:
                total = total + q[b, i, d] * k[b, j, d]
            scores.append(total * F(scale))
        p = softmax_row(scores)
        for d in columns:
            total = F(0)
            for weight, j in zip(p, keys, strict=True):
                total = total + weight * v[b, j, d]
            out[b, i, d] = total
    return out


def linear(
    codes: Array,
    scales: Array,
    zero_points: Array,
    weight: Array,
    weight_scale: Array,
    bias: Array | None = None,
    name: str = "none",
    residual: Array | None = None,
) -> Array:
    """The int8 linear layer from quantized rows to float32."""
    points = zero_points.astype(np.int64)[:, None]
    acc = (codes.astype(np.int64) - points) @ weight.astype(np.int64).T
    out = np.empty(acc.shape, F)
    with np.errstate(all="ignore"):
        for m, n in np.ndindex(acc.shape):
            y = F(int(acc[m, n])) * (scales[m] * weight_scale[n])
            if bias is not None:
                y = y + bias[n]
            y = ACTIVATIONS[name](y)
            out[m, n] = y if residual is None else y + residual[m, n]
    return out


def spmm(weight: Array, x: Array, stored: Array | None = None, start: Array | float = 0.0) -> Array:
    """(N, K) @ (K, M): products of stored places added to `start` one by one, columns ascending."""
    stored = weight != 0 if stored is None else stored
    out = np.full((len(weight), x.shape[1]), start, np.float32)
    with np.errstate(all="ignore"):
        for n, k in zip(*np.nonzero(stored), strict=True):
            out[n] = out[n] + weight[n, k] * x[k]
    return out
