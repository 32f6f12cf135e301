# SPDX-License-Identifier: Apache-2.0
"""Checked quantize and dequantize."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from octavo import _backend, _checks
from octavo._ops.parameters import layout_of, quantized_dtype, scale_array, zero_point_array
from octavo._results import FLOAT32, result
from octavo._types import Array


def quantize_linear(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike | None = None,
    *,
    axis: int | None = None,
    block_size: int | None = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Quantize as ONNX QuantizeLinear: ``saturate(rint(x / scale) + zero_point)``.

    Parameters
    ----------
    x : float32 or float16 array of any shape
        NaN becomes the zero point, infinities saturate.
    scale : positive float32 or float16
        One value; or one per index of `axis`, shape (x.shape[axis],); or, with `block_size`, one
        per block: the shape of `x` with ceil(x.shape[axis] / block_size) at `axis`.  The division
        is done in the dtype of `scale`; a scale without a dtype takes that of `x`.
    zero_point : integers of the shape of `scale`, optional
        Default 0.
    axis : int, optional
        The axis that `scale` runs along.
    block_size : int, optional
        Elements per block along `axis`.
    dtype : int8, uint8, int16 or uint16, optional
        Default: that of `zero_point`, else int8.
    out : ndarray of `dtype`, the shape of `x`, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own.

    Returns
    -------
    ndarray of `dtype`, the shape of `x`

    Examples
    --------
    >>> import octavo
    >>> octavo.quantize_linear([-1.0, 0.1, 9.0], 0.05, 3)
    array([-17,   5, 127], dtype=int8)
    """
    x_array = _checks.as_float(x, "x")
    out_dtype = quantized_dtype(dtype, zero_point)
    scales = scale_array(scale, x_array.dtype)
    layout = layout_of(x_array.shape, scales, axis, block_size)
    zero_points = zero_point_array(zero_point, scales, out_dtype)
    if x_array.dtype != scales.dtype:
        x_array = _checks.rounded(x_array, scales.dtype)
    x_array = np.asarray(x_array, order="C")
    inputs = {"x": x_array, "scale": scales, "zero_point": zero_points}
    y = result(out, x_array.shape, out_dtype, inputs)
    _backend.backend.quantize_linear(x_array, scales.reshape(-1), zero_points, *layout, y)
    return y


def dequantize_linear(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike | None = None,
    *,
    axis: int | None = None,
    block_size: int | None = None,
    out: Array | None = None,
) -> Array:
    """Dequantize as ONNX DequantizeLinear: ``(x - zero_point) * scale``.

    Parameters
    ----------
    x : int8, uint8, int16, uint16 or int32 array of any shape
    scale, zero_point, axis, block_size
        As in `quantize_linear`.  A NaN scale is accepted: it is what `quantize_dynamic` gives a
        row that held a non-finite value, and it gives NaN back.  int32 takes no zero point.
    out : ndarray of the dtype of `scale`, the shape of `x`, optional
        As in `quantize_linear`.

    Returns
    -------
    ndarray of the dtype of `scale` (float32 or float16), the shape of `x`

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.dequantize_linear(np.array([-17, 5, 127], np.int8), 0.5, 3)
    array([-10.,   1.,  62.], dtype=float32)
    """
    codes = _checks.as_codes(x, "x", (*_checks.CODES, _checks.INT32))
    scales = scale_array(scale, FLOAT32, nan=True)
    layout = layout_of(codes.shape, scales, axis, block_size)
    zero_points = zero_point_array(zero_point, scales, codes.dtype)
    if zero_points is not None and codes.dtype == np.int32:
        if zero_points.any():
            raise ValueError("zero_point: expected none for int32 codes, got a value other than 0")
        zero_points = None
    codes = np.asarray(codes, order="C")
    inputs = {"x": codes, "scale": scales, "zero_point": zero_points}
    y = result(out, codes.shape, scales.dtype, inputs)
    _backend.backend.dequantize_linear(codes, scales.reshape(-1), zero_points, *layout, y)
    return y


def quantize_dynamic(
    x: ArrayLike, *, symmetric: bool = False, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """Quantize every row of `x` to int8 with a scale and a zero point of its own.

    Parameters
    ----------
    x : float32 or float16 array, shape (..., K)
    symmetric : bool
        False: the range of the row, widened to hold 0, maps onto [-128, 127].  True: zero point 0
        and codes in [-127, 127].
    out : int8 ndarray, the shape of `x`, optional
        Takes the codes, and is returned as such; as in `quantize_linear`.

    Returns
    -------
    codes : int8, the shape of `x`
    scales : float32, shape (...)
    zero_points : int32, shape (...)
        A row that holds NaN or infinity has scale NaN, zero point 0 and codes 0.

    Examples
    --------
    >>> import octavo
    >>> codes, scales, zero_points = octavo.quantize_dynamic([[0.0, 1.0, 2.55]])
    >>> codes, zero_points
    (array([[-128,  -28,  127]], dtype=int8), array([-128], dtype=int32))
    """
    x_array = _checks.as_float32(x, "x")
    symmetric = _checks.boolean(symmetric, "symmetric")
    if x_array.ndim == 0:
        raise ValueError("x: expected at least one axis, got a scalar")
    rows, leading = _checks.rows_of(x_array), x_array.shape[:-1]
    codes = result(out, x_array.shape, _checks.INT8, {"x": rows})
    _, scales, zero_points = _backend.backend.quantize_dynamic(
        rows, symmetric, codes.reshape(rows.shape)
    )
    return codes, scales.reshape(leading), zero_points.reshape(leading)
