# SPDX-License-Identifier: Apache-2.0
"""Steps of graphs that know no neighbours: sums, products, tables of slopes, sizes, codes.

Codes are int8.  ``low`` and ``high`` bound an output, codes of int8 steps, values of float32 ones;
NaN passes bounds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from octavo._numpy.float_ops import activation, exp
from octavo._numpy.float_ops import softmax as softmax_rows
from octavo._numpy.quantize import dequantize_linear, quantize_linear
from octavo._types import Array

_F = np.float32


class Codes(NamedTuple):
    """How outputs t become codes: rint(min(max(t, low - zero), high - zero)) + zero."""

    zero_point: int
    low: int
    high: int

    def of(self, t: Array) -> Array:
        """Return the codes of float32 values, of which none is NaN."""
        low, high = _F(self.low - self.zero_point), _F(self.high - self.zero_point)
        t = np.rint(np.clip(t, low, high))
        return (t.astype(np.int32) + np.int32(self.zero_point)).astype(np.int8)


def clamp(t: Array, low: float, high: float) -> Array:
    """Bound float32 values; NaN stays."""
    t = np.where(t < _F(low), _F(low), t)
    return np.where(t > _F(high), _F(high), t)


def add(
    a: Array,
    b: Array,
    *,
    a_multiplier: float,
    b_multiplier: float,
    a_zero_point: int,
    b_zero_point: int,
    codes: Codes,
) -> Array:
    """T = float32(a - its zero point) * a_multiplier + the same of b."""
    t = (a.astype(np.int32) - np.int32(a_zero_point)).astype(_F) * _F(a_multiplier)
    return codes.of(t + (b.astype(np.int32) - np.int32(b_zero_point)).astype(_F) * _F(b_multiplier))


def mul(
    a: Array,
    b: Array,
    *,
    multiplier: float,
    a_zero_point: int,
    b_zero_point: int,
    codes: Codes,
) -> Array:
    """T = float32((a - its zero point) * (b - its zero point)) * multiplier."""
    product = (a.astype(np.int32) - np.int32(a_zero_point)) * (
        b.astype(np.int32) - np.int32(b_zero_point)
    )
    return codes.of(product.astype(_F) * _F(multiplier))


def add_f32(a: Array, b: Array, *, low: float, high: float) -> Array:
    """Return a + b."""
    return clamp(a + b, low, high)


def mul_f32(a: Array, b: Array, *, low: float, high: float) -> Array:
    """Return a * b."""
    return clamp(a * b, low, high)


def activate(x: Array, *, name: str, low: float, high: float) -> Array:
    """Apply an activation of layers, or one that graphs alone have; then the bounds."""
    if name == "hard_swish":
        out = x * np.minimum(np.maximum(x + _F(3), _F(0)), _F(6)) * _F(1 / 6)
    elif name == "logistic":
        out = _F(1) / (_F(1) + exp(-x))
    else:
        out = np.empty_like(x)
        activation(x, name, out)
    return clamp(out, low, high)


def lookup(x: Array, *, table: Array) -> Array:
    """table[code + 128] of each code."""
    return table[x.astype(np.int16) + 128]


def prelu(
    x: Array,
    *,
    alpha: Array,
    multiplier: float,
    negative_multiplier: float,
    zero_point: int,
    alpha_zero_point: int,
    codes: Codes,
) -> Array:
    """Make v * multiplier of v = x - zero_point; below 0 (v * alpha) * negative_multiplier."""
    v = (x.astype(np.int32) - np.int32(zero_point)).astype(_F)
    slope = (alpha.astype(np.int32) - np.int32(alpha_zero_point)).astype(_F)
    below = v * slope * _F(negative_multiplier)
    return codes.of(np.where(v < 0, below, v * _F(multiplier)))


def prelu_f32(x: Array, *, alpha: Array) -> Array:
    """x, times alpha[channel] where x is negative."""
    return np.where(x < 0, x * alpha, x)


def resize_positions(
    extent: int, size: int, method: str, align_corners: bool, half_pixel_centers: bool
) -> tuple[Array, Array, Array]:
    """Return which two inputs each of `size` outputs lies between, and how far behind the first."""
    ends = align_corners and size > 1
    scale = _F(extent - 1) / _F(size - 1) if ends else _F(extent) / _F(size)
    half = _F(0.5) if half_pixel_centers else _F(0)
    at = (np.arange(size).astype(_F) + half) * scale
    if method == "nearest":
        at = at + _F(0.5) if align_corners else at
        first = np.minimum(np.floor(at).astype(np.int64), extent - 1)
        return first, first, np.zeros(size, _F)
    at = np.maximum(at - half, _F(0))
    first = np.minimum(np.floor(at).astype(np.int64), extent - 1)
    second = np.minimum(first + 1, extent - 1)
    return first, second, np.where(second == first, _F(0), at - first.astype(_F))


def resize(
    x: Array, *, size: tuple[int, int], method: str, align_corners: bool, half_pixel_centers: bool
) -> Array:
    """Nearest values, or those between four: along a row first, every operation rounded."""
    options = (method, align_corners, half_pixel_centers)
    top, bottom, down = resize_positions(x.shape[1], size[0], *options)
    left, right, across = resize_positions(x.shape[2], size[1], *options)
    if method == "nearest":
        return x[:, top][:, :, left]
    across, down = across[:, None], down[:, None, None]

    def along(rows: Array) -> Array:
        one, other = (x[:, rows][:, :, at].astype(_F) for at in (left, right))
        return one + (other - one) * across

    above = along(top)
    t = above + (along(bottom) - above) * down
    return np.rint(t).astype(np.int8) if x.dtype == np.int8 else t


def softmax(
    x: Array, *, scale: float, zero_point: int, out_scale: float, out_zero_point: int
) -> Array:
    """Softmax of the rows that codes (rows, n) stand for, as codes."""
    p = dequantize(x, scale=scale, zero_point=zero_point)
    softmax_rows(p, p)
    return quantize(p, scale=out_scale, zero_point=out_zero_point)


def softmax_f32(x: Array) -> Array:
    """Softmax of rows (rows, n)."""
    p = np.empty_like(x)
    softmax_rows(x, p)
    return p


def quantize(x: Array, *, scale: float, zero_point: int) -> Array:
    """Return the codes of float32 values, as `octavo.functional.quantize_linear` makes them."""
    out = np.empty(x.shape, np.int8)
    parameters = np.array([scale], _F), np.array([zero_point], np.int8)
    quantize_linear(x, *parameters, 1, 1, x.size, 0, out)
    return out


def dequantize(x: Array, *, scale: float, zero_point: int) -> Array:
    """Return the float32 values that codes stand for."""
    out = np.empty(x.shape, _F)
    parameters = np.array([scale], _F), np.array([zero_point], np.int8)
    dequantize_linear(x, *parameters, 1, 1, x.size, 0, out)
    return out
