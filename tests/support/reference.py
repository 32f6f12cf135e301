# SPDX-License-Identifier: Apache-2.0
"""What every backend must return, written one element at a time: obvious, slow, independent.

Integers are Python's, so nothing overflows; floats are NumPy float32 scalars, so every operation
rounds once.  Where a product is added to something, both are one operation, `fma`.
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


def _significand(x: Any) -> tuple[int, int]:
    """Return integers m and e, x = m * 2**e."""
    fraction, exponent = math.frexp(float(x))
    return int(fraction * 2**24), exponent - 24


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float32 scalars, rounded once: exact in integers until the end."""
    plain = float(a) * float(b) + float(c)
    if not math.isfinite(plain):
        return F(plain)
    (m_a, e_a), (m_b, e_b), (m_c, e_c) = map(_significand, (a, b, c))
    low = min(e_a + e_b, e_c)
    exact = (m_a * m_b << (e_a + e_b - low)) + (m_c << (e_c - low))
    if exact == 0:
        return F(plain)  # float64 knows the sign of zero
    drop = max(abs(exact).bit_length() - 24, -149 - low, 0)
    kept, rest = abs(exact) >> drop, abs(exact) & ((1 << drop) - 1)
    kept += 2 * rest > 1 << drop or (2 * rest == 1 << drop and kept % 2 == 1)
    return F(math.copysign(math.ldexp(kept, low + drop), exact))


def fma_row(a: Any, b: Array, c: Array) -> Array:
    """`fma` of whole arrays, short of results that overflow only just.

    A float64 sum rounds to the right float32 unless it lies midway between two: then what float64
    lost of it decides.
    """
    product = np.multiply(a, b, dtype=np.float64)
    total = product + c
    added = total - product
    lost = (product - (total - added)) + (c - added)
    near = total.astype(F)
    far = np.nextafter(near, np.where(total > near, F(np.inf), F(-np.inf)))
    midway = total == (near.astype(np.float64) + far) / 2
    chosen = np.where(lost > 0, np.maximum(near, far), np.minimum(near, far))
    return np.where(midway & ((lost < 0) | (lost > 0)), chosen, near)


def polynomial(x: Any, *coefficients: float) -> Any:
    """Highest power first."""
    p = F(coefficients[0])
    for coefficient in coefficients[1:]:
        p = fma(p, x, F(coefficient))
    return p


def exp(x: Any) -> Any:
    """float32 to float32."""
    if np.isnan(x):
        return x
    x = min(max(x, F(-87.33654)), F(88))
    n = fma(x, F(1.44269502), F(12583039)) - F(12583039)
    r = fma(-n, F(0.693147182), x)
    r = fma(-n, F(-1.90465421e-9), r)
    p = polynomial(
        *(r, 1.38208945e-3, 8.36868212e-3, 4.16682661e-2, 1.66665211e-1, 4.9999994e-1, 1, 1)
    )
    return p * F(2.0 ** int(n))


def gelu(x: Any) -> Any:
    if np.isnan(x):
        return x
    t = min(abs(x), F(9))
    y = polynomial(
        *(t, 2.99374442e-5, -7.39976123e-4, 7.97775015e-3, -5.32385558e-2, -4.58915472e-1),
        *(-1.15114713, -1),
    )
    n = (y + F(12583039)) - F(12583039)
    q = polynomial(
        *(y - n, 1.32691627e-3, 9.67131276e-3, 5.55071197e-2, 2.40222469e-1, 6.93147004e-1, 1)
    )
    return fma(-t, q * F(2.0 ** int(n)), F(0) if x < 0 else x)


def gelu_tanh(x: Any) -> Any:
    return x / (F(1) + exp(x * fma(x * x, F(-0.0713548124), F(-1.59576917))))


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "none": lambda x: x,
    "relu": lambda x: F(0) if x < 0 else x,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x / (F(1) + exp(-x)),
    "tanh": lambda x: F(2) / (F(1) + exp(F(-2) * x)) - F(1),
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
    return fold(lanes)


def row_sum_of_squares(values: Any) -> Any:
    lanes = [F(0)] * 16
    for i, value in enumerate(values):
        lanes[i % 16] = fma(value, value, lanes[i % 16])
    return fold(lanes)


def fold(lanes: Any) -> Any:
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
            rstd = F(1) / np.sqrt(row_sum_of_squares(d) / n + F(eps))
            for j, a in enumerate(d):
                y = a * rstd
                if weight is None or bias is None:
                    y = y if weight is None else y * weight[j]
                    out[i, j] = y if bias is None else y + bias[j]
                else:
                    out[i, j] = fma(y, weight[j], bias[j])
    return out


def rms_norm(x: Array, weight: Array | None, eps: float, addend: Array | None) -> Array:
    out = np.empty(x.shape, F)
    with np.errstate(all="ignore"):
        for i, row in enumerate(x):
            factor = F(1) / np.sqrt(row_sum_of_squares(row) / F(len(row)) + F(eps))
            for j, a in enumerate(row):
                y, w = a * factor, F(1) if weight is None else weight[j]
                out[i, j] = y * w if addend is None else fma(y, w, addend[i, j])
    return out


def rotary(x: Array, cosine: Array, sine: Array, heads: int) -> Array:
    """Tables with a row for each row of x."""
    out, pairs, d = x.copy(), cosine.shape[1], x.shape[1] // heads
    for (i, j), a in np.ndenumerate(x):
        place = j % d
        if place < 2 * pairs:
            other = x[i, j + pairs if place < pairs else j - pairs] * sine[i, place % pairs]
            out[i, j] = fma(a, cosine[i, place % pairs], -other if place < pairs else other)
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


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    heads: int,
    scale: float,
    bias: Array | None = None,
) -> Array:
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
                total = fma(q[b, i, d], k[b, j, d], total)
            added = None if bias is None else bias[h % len(bias), i, j]
            scores.append(total * F(scale) if added is None else fma(total, F(scale), added))
        p = softmax_row(scores)
        for d in columns:
            total = F(0)
            for weight, j in zip(p, keys, strict=True):
                total = fma(weight, v[b, j, d], total)
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
            out[n] = fma_row(weight[n, k], x[k], out[n])
    return out
