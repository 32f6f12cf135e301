# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools of images, NHWC; codes, and what bounds outputs, as in `elements`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from octavo._numpy.elements import Codes, clamp
from octavo._numpy.fused import fused
from octavo._numpy.linear import exact_product
from octavo._numpy.quantize import quantize_dynamic
from octavo._types import Array

_F = np.float32


class Window(NamedTuple):
    """Where the taps of each output are: those of output i begin at i * stride - padding."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]

    def positions(self, axis: int, extent: int) -> Array:
        """Return where (outputs, taps) are along an axis; `extent` for those outside."""
        outputs, taps = np.arange(self.size[axis]), np.arange(self.kernel[axis])
        at = outputs[:, None] * self.stride[axis] + taps * self.dilation[axis] - self.padding[axis]
        return np.where((at >= 0) & (at < extent), at, extent)


def _padded(x: Array, fill: Array | int) -> Array:
    """Return x (batch, h, w, c) with one more row and column, of `fill` (or one per image)."""
    batch, h, w, c = x.shape
    out = np.empty((batch, h + 1, w + 1, c), x.dtype)
    out[...] = np.reshape(fill, (-1, 1, 1, 1))
    out[:, :h, :w] = x
    return out


def patches(x: Array, window: Window, fill: Array | int) -> Array:
    """Return what each output reads, (batch, oh, ow, kh, kw, c)."""
    rows, columns = window.positions(0, x.shape[1]), window.positions(1, x.shape[2])
    return _padded(x, fill)[:, rows][:, :, :, columns].transpose(0, 1, 3, 2, 4, 5)


def _taps(x: Array, window: Window, fill: int) -> Iterator[tuple[tuple[int, int], Array, Array]]:
    """Yield (i, j), what all outputs read there, and which (oh, ow) lie inside, in order.

    Taps that lie below or behind the image for all outputs are left out.
    """
    kernel = tuple(
        min(taps, (extent + padding - 1) // dilation + 1)
        for taps, extent, padding, dilation in zip(
            window.kernel, x.shape[1:3], window.padding, window.dilation, strict=True
        )
    )
    window = window._replace(kernel=(kernel[0], kernel[1]))
    rows, columns = window.positions(0, x.shape[1]), window.positions(1, x.shape[2])
    padded = _padded(x, fill)
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            inside = (rows[:, i] < x.shape[1])[:, None] & (columns[:, j] < x.shape[2])
            yield (i, j), padded[:, rows[:, i]][:, :, columns[:, j]], inside


def _products(patch: Array, weight: Array, groups: int, product: Any) -> Array:
    """Multiply patches with weights (n, kh, kw, c / groups), group by group."""
    n, share = len(weight), weight.shape[3]
    outputs, size = n // groups, weight[0].size
    parts = []
    for g in range(groups):
        rows = patch[..., g * share : (g + 1) * share].reshape(-1, size)
        parts.append(product(rows, weight[g * outputs : (g + 1) * outputs].reshape(outputs, -1).T))
    return np.concatenate(parts, axis=1).reshape(*patch.shape[:3], n)


def _sums(x: Array, window: Window, weight: Array, groups: int, zero_point: Array | int) -> Array:
    """Sum (x - zero_point) * weight exactly, modulo 2**32; padding counts as zero points."""
    acc = _products(patches(x, window, zero_point), weight, groups, exact_product)
    totals = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int32)
    acc -= np.reshape(zero_point, (-1, 1, 1, 1)).astype(np.int32) * totals
    return acc


def conv(
    x: Array,
    *,
    window: Window,
    weight: Array,
    bias: Array,
    multiplier: Array,
    zero_point: int,
    codes: Codes,
    groups: int,
) -> Array:
    """Int8 convolution: t = float32(sum + bias) * multiplier of each output channel."""
    acc = _sums(x, window, weight, groups, zero_point) + bias
    return codes.of(acc.astype(_F) * multiplier)


def conv_dynamic(
    x: Array,
    *,
    window: Window,
    weight: Array,
    scale: Array,
    bias: Array | None,
    groups: int,
    low: float,
    high: float,
) -> Array:
    """Convolution of float32 images, each of which becomes asymmetric codes from its own range."""
    q, x_scale, zero_point = quantize_dynamic(x.reshape(len(x), -1), symmetric=False)
    acc = _sums(q.reshape(x.shape), window, weight, groups, zero_point)
    y = acc.astype(_F) * (x_scale[:, None] * scale)[:, None, None]
    return clamp(y if bias is None else y + bias, low, high)


def conv_f32(
    x: Array,
    *,
    window: Window,
    weight: Array,
    bias: Array | None,
    groups: int,
    low: float,
    high: float,
) -> Array:
    """Float32 convolution, by BLAS: the one step whose bits are not those of the native one."""
    y = _products(patches(x, window, 0), weight, groups, np.matmul)
    return clamp(y if bias is None else y + bias, low, high)


def depthwise(
    x: Array,
    *,
    window: Window,
    weight: Array,
    bias: Array,
    multiplier: Array,
    zero_point: int,
    codes: Codes,
) -> Array:
    """Int8 convolution of each channel with its own weights, (kh, kw, c * m)."""
    c, zero = x.shape[3], np.int32(zero_point)
    acc = np.zeros((len(x), *window.size, c, weight.shape[2] // c), np.int32)
    for (i, j), tap, _ in _taps(x, window, zero_point):
        acc += (tap.astype(np.int32) - zero)[..., None] * weight[i, j].reshape(c, -1)
    sums = acc.reshape(*acc.shape[:3], -1) + bias
    return codes.of(sums.astype(_F) * multiplier)


def depthwise_f32(
    x: Array, *, window: Window, weight: Array, bias: Array, low: float, high: float
) -> Array:
    """Add the products by fused multiply-adds from +0, in the order of taps inside the image."""
    c = x.shape[3]
    acc = np.zeros((len(x), *window.size, c, weight.shape[2] // c), _F)
    for (i, j), tap, inside in _taps(x, window, 0):
        total = fused(tap[..., None], weight[i, j].reshape(c, -1), acc)
        acc = np.where(inside[..., None, None], total, acc)
    return clamp(acc.reshape(*acc.shape[:3], -1) + bias, low, high)


def average_pool(
    x: Array, *, window: Window, scale: float, out_scale: float, zero_point: int, codes: Codes
) -> Array:
    """Mean of the taps inside: t = float32(sum less zero points) * float32(scale ratio / count)."""
    acc = np.zeros((len(x), *window.size, x.shape[3]), np.int32)
    count = np.zeros(window.size, np.int32)
    for _, tap, inside in _taps(x, window, zero_point):
        acc += tap.astype(np.int32) - np.int32(zero_point)  # 0 outside
        count += inside
    multiplier = (np.float64(scale) / (np.float64(out_scale) * count)).astype(_F)
    return codes.of(acc.astype(_F) * multiplier[..., None])


def average_pool_f32(x: Array, *, window: Window, low: float, high: float) -> Array:
    """Add the taps inside from +0 in order; divide by how many they are."""
    acc = np.zeros((len(x), *window.size, x.shape[3]), _F)
    count = np.zeros((*window.size, 1), _F)
    for _, tap, inside in _taps(x, window, 0):
        acc = np.where(inside[..., None], acc + tap, acc)
        count += inside[..., None]
    return clamp(acc / count, low, high)


def max_pool(x: Array, *, window: Window, low: float, high: float) -> Array:
    """Return the greatest of the taps inside, of codes or float32; NaN if one is."""
    least = np.iinfo(np.int8).min if x.dtype == np.int8 else -np.inf
    acc = np.full((len(x), *window.size, x.shape[3]), least, x.dtype)
    for _, tap, inside in _taps(x, window, 0):
        taken = inside[..., None] & ((tap > acc) | (tap != tap))
        acc = np.where(taken, tap, acc)
    return np.clip(acc, low, high).astype(np.int8) if x.dtype == np.int8 else clamp(acc, low, high)
