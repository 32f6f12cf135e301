# SPDX-License-Identifier: Apache-2.0
"""A quantized array together with what its codes mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from octavo import _checks
from octavo._float_mode import in_default_mode
from octavo._ops.parameters import (
    block_shape,
    layout_of,
    quantized_dtype,
    scale_array,
    zero_point_array,
)
from octavo._ops.quantize import dequantize_linear, quantize_linear
from octavo._scales import normal_scale, range_to_scale
from octavo._types import Array

__all__ = ["QTensor", "quantize"]


class QTensor:
    """Codes with their scale and zero point: ``(data - zero_point) * scale``.

    Parameters
    ----------
    data : int8, uint8, int16 or uint16 array of any shape
    scale : positive float32 or float16
        One value; shape (data.shape[axis],); or, with `block_size`, one per block along `axis`.
    zero_point : integers of the shape of `scale`, optional
        Default 0.
    axis : int, optional
    block_size : int, optional

    Examples
    --------
    >>> import numpy as np, octavo
    >>> q = octavo.qtensor.QTensor(np.array([[1, 2], [3, 4]], np.int8), [0.5, 2.0], axis=0)
    >>> q.dequantize()
    array([[0.5, 1. ],
           [6. , 8. ]], dtype=float32)
    """

    __slots__ = ("axis", "block_size", "data", "scale", "zero_point")

    data: Array
    scale: Array
    zero_point: Array
    axis: int | None
    block_size: int | None

    def __init__(
        self,
        data: ArrayLike,
        scale: ArrayLike,
        zero_point: ArrayLike | None = None,
        axis: int | None = None,
        block_size: int | None = None,
    ) -> None:
        codes = _checks.as_codes(data, "data", _checks.CODES)
        scales = scale_array(scale, np.dtype(np.float32), nan=True)
        layout = layout_of(codes.shape, scales, axis, block_size)
        points = zero_point_array(zero_point, scales, codes.dtype)
        if points is None:
            points = np.zeros(scales.size, codes.dtype)
        self.data = codes
        self.scale = scales
        self.zero_point = points.reshape(scales.shape)
        self.axis = None if axis is None else _checks.axis_of(axis, codes.ndim)
        self.block_size = layout.block_size or None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the codes."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, the scale and the zero point together."""
        return self.data.nbytes + self.scale.nbytes + self.zero_point.nbytes

    def dequantize(self, *, out: Array | None = None) -> Array:
        """Return the values the codes stand for, in the dtype of `scale`.

        `out` takes them as in `octavo.dequantize_linear`.
        """
        along = {"axis": self.axis, "block_size": self.block_size}
        return dequantize_linear(self.data, self.scale, self.zero_point, **along, out=out)

    def __repr__(self) -> str:
        parts = [f"shape={self.shape}", f"dtype={self.dtype}"]
        if self.axis is not None:
            parts.append(f"axis={self.axis}")
        if self.block_size is not None:
            parts.append(f"block_size={self.block_size}")
        return f"QTensor({', '.join(parts)})"


@in_default_mode
def quantize(
    x: ArrayLike,
    axis: int | None = None,
    dtype: DTypeLike = "int8",
    symmetric: bool = True,
    block_size: int | None = None,
) -> QTensor:
    """Quantize an array with scales taken from its own range.

    Parameters
    ----------
    x : float array of any shape, finite
        float64 is rounded to float32.
    axis : int, optional
        Give every index of this axis a scale of its own; default: one scale for all.
    dtype : int8, uint8, int16 or uint16
    symmetric : bool
        True: 0 in the middle of the codes and as many steps below as above (int8: -127 to 127).
        False: the range, widened to hold 0, maps onto all codes.
    block_size : int, optional
        Give every block of this many elements along `axis` a scale of its own.  With axis -1 and
        the size of that axis, every row has one: the form `octavo.Linear` takes.

    Returns
    -------
    QTensor

    Examples
    --------
    >>> import octavo
    >>> q = octavo.quantize([[1.0, -2.0], [0.5, 0.25]], axis=0)
    >>> q.data
    array([[  64, -127],
           [ 127,   64]], dtype=int8)
    >>> q.scale.shape
    (2,)
    """
    values = _checks.as_float32(x, "x", float64=True)
    codes_dtype = quantized_dtype(dtype, None)
    symmetric = _checks.boolean(symmetric, "symmetric")
    lo, hi = _ranges(values, axis, block_size)
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
        raise ValueError("x: expected finite values, got NaN or infinity")
    scale, zero_point = _choose(lo, hi, np.iinfo(codes_dtype), symmetric)
    zero_point = zero_point.astype(codes_dtype)
    codes = quantize_linear(values, scale, zero_point, axis=axis, block_size=block_size)
    return QTensor(codes, scale, zero_point, axis, block_size)


def _ranges(x: Array, axis: int | None, block_size: int | None) -> tuple[Array, Array]:
    """Lowest and highest value of each group, 0 included, in the shape of the scale."""
    if axis is None:
        if block_size is not None:
            raise ValueError("axis: expected an axis when block_size is given, got None")
        return np.asarray(x.min(initial=0)), np.asarray(x.max(initial=0))
    axis = _checks.axis_of(axis, x.ndim)
    if block_size is None:
        others = tuple(i for i in range(x.ndim) if i != axis)
        return x.min(axis=others, initial=0), x.max(axis=others, initial=0)
    size = _checks.integer(block_size, "block_size", 1)
    if x.size == 0:
        empty = np.zeros(block_shape(x.shape, axis, size), np.float32)
        return empty, empty
    starts = np.arange(0, x.shape[axis], size)
    zero = np.float32(0)
    lo = np.minimum(np.minimum.reduceat(x, starts, axis), zero)
    hi = np.maximum(np.maximum.reduceat(x, starts, axis), zero)
    return lo, hi


def _choose(lo: Array, hi: Array, limits: np.iinfo[Any], symmetric: bool) -> tuple[Array, Array]:
    """Scale and zero point for the ranges [lo, hi]."""
    with np.errstate(over="ignore", under="ignore"):
        if symmetric:
            steps = (limits.max - limits.min) // 2
            largest = np.maximum(-lo, hi)
            scale = normal_scale(largest / np.float32(steps), largest == 0)
            return scale, np.full(scale.shape, limits.max - steps)
        scale = range_to_scale(lo, hi, limits.max - limits.min)
        points = np.rint(np.float32(limits.min) - lo / scale)
        return scale, np.clip(points, limits.min, limits.max)
