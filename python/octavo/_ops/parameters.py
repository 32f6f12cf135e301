# SPDX-License-Identifier: Apache-2.0
"""Scales and zero points of the ONNX operators: shapes, dtypes and the view a backend takes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from octavo import _checks
from octavo._types import Array


class Layout(NamedTuple):
    """Data as (outer, channels, inner); a scale per channel, or per block of channels."""

    outer: int
    channels: int
    inner: int
    block_size: int


def quantized_dtype(dtype: DTypeLike | None, zero_point: object) -> np.dtype[Any]:
    """Find the dtype of the codes: as asked, else that of a typed zero point, else int8."""
    if dtype is None:
        own = getattr(zero_point, "dtype", None)
        if isinstance(own, np.dtype):
            dtype = own.newbyteorder("=")
        return dtype if isinstance(dtype, np.dtype) and dtype in _checks.CODES else _checks.INT8
    found: np.dtype[Any] | None
    try:
        found = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        found = None
    if found is None or found not in _checks.CODES:
        raise TypeError(f"dtype: expected {' or '.join(map(str, _checks.CODES))}, got {dtype!r}")
    return found


def scale_array(scale: object, default: np.dtype[Any], *, nan: bool = False) -> Array:
    """Return the scale as float32 or float16; one without a dtype takes `default`."""
    array = _checks.as_float(scale, "scale", float64=True)
    if not _checks.is_typed(scale) or getattr(scale, "dtype", None) == np.float64:
        array = _checks.rounded(array, default)
    _checks.check_scale(array, "scale", nan=nan)
    return np.asarray(array, order="C")


def zero_point_array(value: object, scale: Array, dtype: np.dtype[Any]) -> Array | None:
    """Zero points of the shape of `scale`, flat, in the dtype of the codes; None for none."""
    if value is None:
        return None
    points = _checks.as_points(value, "zero_point", dtype)
    if points.shape != scale.shape and not points.size == scale.size == 1:
        raise ValueError(
            f"zero_point: expected the shape of scale, {scale.shape}, got {points.shape}"
        )
    return points.reshape(-1).astype(dtype)


def layout_of(
    shape: tuple[int, ...], scale: Array, axis: int | None, block_size: int | None
) -> Layout:
    """How `scale` lies over data of `shape`, after checking that it fits."""
    if block_size is not None:
        return _blocked(shape, scale, axis, block_size)
    if scale.ndim == 0 or (axis is None and scale.size == 1):
        if axis is not None:
            _checks.axis_of(axis, len(shape))
        return Layout(1, 1, math.prod(shape), 0)
    if axis is None:
        raise ValueError(f"axis: expected an axis for a scale of shape {scale.shape}, got None")
    axis = _checks.axis_of(axis, len(shape))
    if scale.shape != (shape[axis],):
        raise ValueError(
            f"scale: expected shape ({shape[axis]},) for axis {axis} of {shape}, got {scale.shape}"
        )
    return Layout(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), 0)


def _blocked(shape: tuple[int, ...], scale: Array, axis: int | None, block_size: int) -> Layout:
    if axis is None:
        raise ValueError("axis: expected an axis when block_size is given, got None")
    axis = _checks.axis_of(axis, len(shape))
    size = _checks.integer(block_size, "block_size", 1)
    wanted = block_shape(shape, axis, size)
    if scale.shape != wanted:
        raise ValueError(
            f"scale: expected shape {wanted} for blocks of {size} along axis {axis} of {shape},"
            f" got {scale.shape}"
        )
    return Layout(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), size)


def block_shape(shape: tuple[int, ...], axis: int, block_size: int) -> tuple[int, ...]:
    """Return the shape of a blocked scale."""
    return (*shape[:axis], -(-shape[axis] // block_size), *shape[axis + 1 :])
