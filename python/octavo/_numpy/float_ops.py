# SPDX-License-Identifier: Apache-2.0
"""Float32 functions with a fixed order of operations, so that every tier gives the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float32]

_F = np.float32
_LANES = 16
_EXP_LOWEST = _F(-87.33654)
_EXP_HIGHEST = _F(88.0)
_LOG2_E = _F(1.44269504)
_LN2_HIGH = _F(0.693359375)
_LN2_LOW = _F(-2.12194440e-4)
_EXP_POLYNOMIAL = tuple(
    _F(c)
    for c in (
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    )
)
_ERF_POLYNOMIAL = tuple(
    _F(c) for c in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
)
_ONE = _F(1)
_HALF = _F(0.5)
_TWO = _F(2)


def exp(x: Array) -> Array:
    """e**x, clamped to the normal range of float32; NaN stays NaN."""
    x = np.minimum(np.maximum(x, _EXP_LOWEST), _EXP_HIGHEST)
    n = np.rint(x * _LOG2_E)
    r = x - n * _LN2_HIGH
    r -= n * _LN2_LOW
    p: Array = np.full_like(r, _EXP_POLYNOMIAL[0])
    for coefficient in _EXP_POLYNOMIAL[1:]:
        p *= r
        p += coefficient
    p *= r * r
    p += r
    p += _ONE
    exponent = np.where(np.isnan(n), _F(0), n).astype(np.int32)
    p *= ((exponent + 127) << 23).view(np.float32)
    return p


def _sigmoid(x: Array) -> Array:
    y: Array = _ONE / (_ONE + exp(-x))
    return y


def _gelu(x: Array) -> Array:
    # erf by Abramowitz and Stegun 7.1.26, on |x| / sqrt(2).
    a = np.abs(x * _F(0.70710678))
    t = _ONE / (_ONE + _F(0.3275911) * a)
    p = np.full_like(t, _ERF_POLYNOMIAL[0])
    for coefficient in _ERF_POLYNOMIAL[1:]:
        p *= t
        p += coefficient
    p *= t
    q = _HALF * (p * exp(-(a * a)))
    phi: Array = np.where(x < 0, q, _ONE - q)
    return x * phi


def _gelu_tanh(x: Array) -> Array:
    u = _F(0.79788456) * (x + _F(0.044715) * ((x * x) * x))
    return x * _sigmoid(_TWO * u)


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _relu(x: Array) -> Array:
    y: Array = np.where(x < 0, _F(0), x)
    return y


def _tanh(x: Array) -> Array:
    y: Array = _TWO * _sigmoid(_TWO * x) - _ONE
    return y


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
        out[...] = _ACTIVATIONS[name](x)


def row_sum(x: Array) -> Array:
    """Sum over the last axis in 16 lanes, folded in halves.

    Lane l adds elements l, l + 16, ... in order, from +0.0; then 8 lanes s[i] + s[i + 8], and so
    on.  A fixed order is what makes the sum the same on every tier.
    """
    n = x.shape[-1]
    lanes = np.zeros((*x.shape[:-1], _LANES), np.float32)
    for start in range(0, n - n % _LANES, _LANES):
        lanes += x[..., start : start + _LANES]
    lanes[..., : n % _LANES] += x[..., n - n % _LANES :]
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
        variance = row_sum(d * d) / n
        d *= (_ONE / np.sqrt(variance + _F(eps)))[:, None]
        if weight is not None:
            d *= weight
        if bias is not None:
            d += bias
    out[...] = d


def _softmax_rows(x: Array) -> Array:
    p = exp(x - x.max(axis=-1, keepdims=True))
    p /= row_sum(p)[..., None]
    return p


def softmax(x: Array, out: Array) -> None:
    """Softmax over the rows of `x` (M, N)."""
    if x.size:
        with np.errstate(all="ignore"):
            out[...] = _softmax_rows(x)


def _split_heads(x: Array, heads: int) -> Array:
    """(T, H * D) as (H, T, D), without a copy."""
    split: Array = x.reshape(x.shape[0], heads, -1).transpose(1, 0, 2)
    return split


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    heads: int,
    sm_scale: float,
    out: Array,
) -> None:
    """Scaled dot-product attention over (B, T, H * D); keys whose mask is false do not exist.

    Leaving masked keys out, instead of giving them a large negative score, is what makes a
    sentence's result independent of its padding.  Without a single valid key the result is 0.
    """
    for b in range(q.shape[0]):
        keys, values = k[b], v[b]
        if mask is not None:
            keys, values = keys[mask[b]], values[mask[b]]
        if keys.shape[0] == 0:
            out[b] = 0
            continue
        _attend(
            _split_heads(q[b], heads),
            _split_heads(keys, heads),
            _split_heads(values, heads),
            _F(sm_scale),
            _split_heads(out[b], heads),
        )


def _attend(q: Array, k: Array, v: Array, scale: np.float32, out: Array) -> None:
    """One batch entry: q (H, T_q, D); k, v (H, T_k, D).  Sums run in the order of d, then of j."""
    with np.errstate(all="ignore"):
        k_columns = np.ascontiguousarray(k.transpose(2, 0, 1))
        scores = np.zeros((q.shape[0], q.shape[1], k.shape[1]), np.float32)
        for d, column in enumerate(k_columns):
            scores += q[:, :, d, None] * column[:, None, :]
        scores *= scale
        p = _softmax_rows(scores)
        total = np.zeros(out.shape, np.float32)
        for j in range(k.shape[1]):
            total += p[:, :, j, None] * v[:, j, None, :]
    out[...] = total
