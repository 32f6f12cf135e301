# SPDX-License-Identifier: Apache-2.0
"""Quantize and dequantize: ONNX semantics, and the dynamic range of a row."""

from __future__ import annotations

import numpy as np

from octavo._scales import normal_scale, range_to_scale
from octavo._types import Array


def written(result: Array, out: Array | None) -> Array:
    """Return the result, in `out` if that is given."""
    if out is None:
        return result
    out[...] = result
    return out


def _spread(values: Array, outer: int, channels: int, inner: int, block_size: int) -> Array:
    """Parameters as an array that broadcasts against data of shape (outer, channels, inner)."""
    if block_size == 0:
        return values.reshape(1, -1, 1)
    blocks = -(-channels // block_size)
    return values.reshape(outer, blocks, inner).repeat(block_size, axis=1)[:, :channels]


def quantize_linear(
    x: Array,
    scale: Array,
    zero_point: Array | None,
    outer: int,
    channels: int,
    inner: int,
    block_size: int,
    out: Array,
) -> None:
    """Out = saturate(rint(x / scale) + zero_point); a NaN becomes the zero point."""
    shape = (outer, channels, inner)
    limits = np.iinfo(out.dtype)
    with np.errstate(all="ignore"):
        quotient = x.reshape(shape) / _spread(scale, *shape, block_size)
        q = np.rint(quotient).astype(np.float32, copy=False)
        q[np.isnan(q)] = 0
        if zero_point is not None:
            # Exact wherever it matters: a sum beyond 2**24 saturates anyway.
            q += _spread(zero_point, *shape, block_size).astype(np.float32)
    np.clip(q, np.float32(limits.min), np.float32(limits.max), out=q)
    out.reshape(shape)[...] = q.astype(out.dtype)


def dequantize_linear(
    q: Array,
    scale: Array,
    zero_point: Array | None,
    outer: int,
    channels: int,
    inner: int,
    block_size: int,
    out: Array,
) -> None:
    """Out = float32(q - zero_point) * scale, rounded once more when out is float16."""
    shape = (outer, channels, inner)
    codes = q.reshape(shape).astype(np.int32)
    if zero_point is not None:
        codes -= _spread(zero_point, *shape, block_size).astype(np.int32)
    factor = _spread(scale, *shape, block_size).astype(np.float32)
    with np.errstate(all="ignore"):
        out.reshape(shape)[...] = (codes.astype(np.float32) * factor).astype(out.dtype)


def quantize_dynamic(
    x: Array, symmetric: bool, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """Codes, scales and zero points of the rows of `x` (M, K), each from its own range.

    A row with a non-finite value gets scale NaN, zero point 0 and codes 0.  The codes are `out` if
    that is given.
    """
    with np.errstate(all="ignore"):
        lo = x.min(axis=1, initial=0)
        hi = x.max(axis=1, initial=0)
        if symmetric:
            largest = np.maximum(-lo, hi)
            scale = normal_scale(largest / np.float32(127), largest == 0)
            inverse = np.float32(1) / scale
            zero_point = np.zeros_like(scale)
            lowest = -127
        else:
            scale = range_to_scale(lo, hi, 255)
            inverse = np.float32(1) / scale
            zero_point = np.clip(np.rint(np.float32(-128) - lo * inverse), -128, 127)
            lowest = -128
        q = x * inverse[:, None]
        np.rint(q, out=q)
        q += zero_point[:, None]
    np.clip(q, np.float32(lowest), np.float32(127), out=q)
    finite = np.isfinite(lo) & np.isfinite(hi)
    if not finite.all():
        scale[~finite] = np.nan
        zero_point = np.where(finite, zero_point, np.float32(0))
        q[~finite] = 0
    return written(q.astype(np.int8), out), scale, zero_point.astype(np.int32)


def widen(x: Array, out: Array) -> None:
    """Out = float32 of x: float16, or bfloat16 as the uint16 of its bits."""
    if x.dtype == np.uint16:
        np.left_shift(x, 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        out[...] = x
