# SPDX-License-Identifier: Apache-2.0
"""Float32 functions with a fixed order of operations, so that every tier gives the same bits.

Where a product is added to something, the two are one operation (`fused`), rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from octavo._numpy.fused import chunks, fused

Array = NDArray[np.float32]

_F = np.float32
_LANES = 16
_EXP_LOWEST = _F(-87.33654)
_EXP_HIGHEST = _F(88.0)
LOG2_E = _F(1.44269502)
_LN2_HIGH = _F(0.693147182)
_LN2_LOW = _F(-1.90465421e-9)
# 1.5 * 2**23 + 127: added to y it leaves rint(y) + 127, an exponent's bits, in the lowest places.
_TO_INTEGER = _F(12583039)


def _coefficients(*values: float) -> tuple[np.float32, ...]:
    """Return them as float32, highest power first."""
    return tuple(_F(value) for value in values)


# e**r for |r| <= ln(2) / 2, to 3.1e-9, relative; 2**f for |f| <= 1/2, to 9.4e-8.
_EXP = _coefficients(1.38208945e-3, 8.36868212e-3, 4.16682661e-2, 1.66665211e-1, 4.9999994e-1, 1, 1)
_EXP2 = _coefficients(1.32691627e-3, 9.67131276e-3, 5.55071197e-2, 2.40222469e-1, 6.93147004e-1, 1)
# The same to 4e-6, for weights that become codes of 8 bits.
_EXP2_SHORT = _coefficients(9.67606e-3, 5.588240e-2, 2.4013971e-1, 6.9313675e-1, 1)
_EXP2_LOWEST = _TO_INTEGER - _F(64)
# log2 of Phi(-t) for 0 <= t <= 9, so that t * Phi(-t) is right to 8.3e-8.
_LOG2_PHI = _coefficients(
    2.99374442e-5, -7.39976123e-4, 7.97775015e-3, -5.32385558e-2, -4.58915472e-1, -1.15114713, -1
)
_GELU_HIGHEST = _F(9)
# -2 sqrt(2 / pi), and 0.044715 times that.
_GELU_TANH = (_F(-1.59576917), _F(-0.0713548124))
_ZERO = _F(0)
_ONE = _F(1)
_TWO = _F(2)


def _polynomial(x: Array, coefficients: tuple[np.float32, ...]) -> Array:
    p: Array = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        p = fused(p, x, coefficient)
    return p


def _power_of_two(whole: Array) -> Array:
    """2**n from n + _TO_INTEGER."""
    return (whole.view(np.uint32) << np.uint32(23)).view(np.float32)


def exp(x: Array) -> Array:
    """e**x, clamped to the normal range of float32; NaN stays NaN."""
    x = np.minimum(np.maximum(x, _EXP_LOWEST), _EXP_HIGHEST)
    whole = fused(x, LOG2_E, _TO_INTEGER)
    n = whole - _TO_INTEGER
    r = fused(-n, _LN2_HIGH, x)
    r = fused(-n, _LN2_LOW, r)
    p = _polynomial(r, _EXP)
    p *= _power_of_two(whole)
    return p


def exp2_scaled(x: Array, factor: Array) -> Array:
    """2**(x * factor) to 4e-6; 0 where the exponent rounds to less than -64."""
    whole = fused(x, factor, _TO_INTEGER)
    p = _polynomial(fused(x, factor, _TO_INTEGER - whole), _EXP2_SHORT)
    p *= _power_of_two(whole)
    p[whole < _EXP2_LOWEST] = 0
    return p


def _gelu(x: Array) -> Array:
    # max(x, 0) - t * Phi(-t), where Phi(-t) = 2**y.
    t = np.minimum(np.abs(x), _GELU_HIGHEST)
    y = _polynomial(t, _LOG2_PHI)
    whole = y + _TO_INTEGER
    q = _polynomial(y - (whole - _TO_INTEGER), _EXP2)
    q *= _power_of_two(whole)
    return fused(-t, q, _relu(x))


def _gelu_tanh(x: Array) -> Array:
    linear, cubic = _GELU_TANH
    return x / (_ONE + exp(x * fused(x * x, cubic, linear)))


def _silu(x: Array) -> Array:
    return x / (_ONE + exp(-x))


def _relu(x: Array) -> Array:
    return np.where(x < 0, _ZERO, x)


def _tanh(x: Array) -> Array:
    return _TWO / (_ONE + exp(-_TWO * x)) - _ONE


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "relu": _relu,
    "tanh": _tanh,
}


def activation(x: Array, name: str, out: Array) -> None:
    """Out = name(x), element by element; `out` may be `x`."""
    if name == "none":
        out[...] = x
        return
    with np.errstate(all="ignore"):
        for part in chunks(x):
            out[part] = _ACTIVATIONS[name](x[part])


def row_sum(x: Array) -> Array:
    """Sum over the last axis in 16 lanes, folded in halves.

    Lane l adds elements l, l + 16, ... in order, from +0.0; then 8 lanes s[i] + s[i + 8], and so
    on.  A fixed order is what makes the sum the same on every tier.
    """
    n = x.shape[-1]
    lanes = np.zeros((*x.shape[:-1], _LANES), np.float32)
    for start in range(0, n, _LANES):
        lanes[..., : n - start] += x[..., start : start + _LANES]
    return _fold(lanes)


def row_sum_of_squares(x: Array) -> Array:
    """`row_sum` of squares, each added without being rounded first."""
    n = x.shape[-1]
    lanes = np.zeros((*x.shape[:-1], _LANES), np.float32)
    for start in range(0, n, _LANES):
        part = x[..., start : start + _LANES]
        lanes[..., : n - start] = fused(part, part, lanes[..., : n - start])
    return _fold(lanes)


def _fold(lanes: Array) -> Array:
    width = _LANES
    while width > 1:
        width //= 2
        lanes = lanes[..., :width] + lanes[..., width : 2 * width]
    return lanes[..., 0]


def layer_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    residual: Array | None,
    out: Array,
) -> None:
    """Normalise the rows of `x + residual`, (M, N), to mean 0 and variance 1; scale and shift."""
    with np.errstate(all="ignore"):
        v = x if residual is None else x + residual
        n = _F(x.shape[1])
        mean: Array = np.divide(row_sum(v), n)
        d = v - mean[:, None]
        variance = row_sum_of_squares(d) / n
        d *= (_ONE / np.sqrt(variance + _F(eps)))[:, None]
        # A bias of -0 changes nothing, not even the sign of a zero.
        out[...] = fused(d, _ONE if weight is None else weight, -_ZERO if bias is None else bias)


def _softmax_rows(x: Array) -> Array:
    p = exp(x - x.max(axis=-1, keepdims=True))
    p /= row_sum(p)[..., None]
    return p


def softmax(x: Array, out: Array) -> None:
    """Softmax over the rows of `x` (M, N)."""
    if x.size:
        with np.errstate(all="ignore"):
            for part in chunks(x):
                out[part] = _softmax_rows(x[part])


def _split_heads(x: Array, heads: int) -> Array:
    """(T, H * D) as (H, T, D), without a copy."""
    return x.reshape(x.shape[0], heads, -1).transpose(1, 0, 2)


def sequences(offsets: Array) -> Iterator[tuple[slice, int]]:
    """Yield the rows of packed sequences, and how many they are."""
    for start, stop in pairwise(offsets.tolist()):
        yield slice(start, stop), stop - start


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    bias: Array | None,
    offsets: Array | None,
    heads: int,
    sm_scale: float,
    out: Array,
) -> None:
    """Scaled dot-product attention over (B, T, H * D); keys whose mask is false do not exist.

    Leaving masked keys out, instead of giving them a large negative score, is what makes a
    sentence's result independent of its padding.  Without a single valid key the result is 0.
    With `offsets` (S + 1,), the rows of one batch entry are S sequences, each on its own.
    """
    if offsets is not None:
        for rows, length in sequences(offsets):
            valid = None if mask is None else mask[:, rows]
            added = None if bias is None else bias[:, :length, :length]
            parts = q[:, rows], k[:, rows], v[:, rows]
            attention(*parts, valid, added, None, heads, sm_scale, out[:, rows])
        return
    for b in range(q.shape[0]):
        keys, values, added = k[b], v[b], bias
        if mask is not None:
            keys, values = keys[mask[b]], values[mask[b]]
            added = None if bias is None else bias[:, :, mask[b]]
        if keys.shape[0] == 0:
            out[b] = 0
            continue
        _attend(
            _split_heads(q[b], heads),
            _split_heads(keys, heads),
            _split_heads(values, heads),
            added,
            _F(sm_scale),
            _split_heads(out[b], heads),
        )


def _attend(
    q: Array, k: Array, v: Array, bias: Array | None, scale: np.float32, out: Array
) -> None:
    """One batch entry: q (H, T_q, D); k, v (H, T_k, D).  Sums run in the order of d, then of j."""
    with np.errstate(all="ignore"):
        k_columns = np.ascontiguousarray(k.transpose(2, 0, 1))
        scores = np.zeros((q.shape[0], q.shape[1], k.shape[1]), np.float32)
        for d, column in enumerate(k_columns):
            scores = fused(q[:, :, d, None], column[:, None, :], scores)
        scores = scores * scale if bias is None else fused(scores, scale, bias)
        p = _softmax_rows(scores)
        total = np.zeros(out.shape, np.float32)
        for j in range(k.shape[1]):
            total = fused(p[:, :, j, None], v[:, j, None, :], total)
    out[...] = total
