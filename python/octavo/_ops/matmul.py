# SPDX-License-Identifier: Apache-2.0
"""Checked int8 matrix product."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._results import result
from octavo._types import Array


def matmul_int8(
    a: ArrayLike,
    b: ArrayLike,
    a_zero_point: ArrayLike | None = None,
    b_zero_point: ArrayLike | None = None,
    *,
    out: Array | None = None,
) -> Array:
    """Exact int32 product of int8 or uint8 matrices, as ONNX MatMulInteger.

    Parameters
    ----------
    a : int8 or uint8, shape (..., M, K) or (K,)
    b : int8 or uint8, shape (..., K, N) or (K,)
        Leading axes broadcast as in `numpy.matmul`.
    a_zero_point : integer or (M,) or (M, 1), optional
        In the range of the dtype of `a`.
    b_zero_point : integer or (N,) or (1, N), optional
    out : int32 ndarray, the shape of the result, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own.

    Returns
    -------
    int32 ndarray, shape (..., M, N); an axis of a one-dimensional operand is dropped

    Raises
    ------
    ValueError
        If K is so large that a sum might not fit int32.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.matmul_int8(np.array([[1, -2]], np.int8), np.array([[3], [4]], np.uint8), 1)
    array([[-12]], dtype=int32)
    """
    a_array = _checks.as_codes(a, "a", _checks.BYTES)
    b_array = _checks.as_codes(b, "b", _checks.BYTES)
    for array, name in ((a_array, "a"), (b_array, "b")):
        if array.ndim == 0:
            raise ValueError(f"{name}: expected at least one axis, got a scalar")
    a_matrix = a_array[None, :] if a_array.ndim == 1 else a_array
    b_matrix = b_array[:, None] if b_array.ndim == 1 else b_array
    (m, k), (k_b, n) = a_matrix.shape[-2:], b_matrix.shape[-2:]
    if k != k_b:
        raise ValueError(
            f"b: expected {k} rows to match a of shape {a_array.shape}, got shape {b_array.shape}"
        )
    a_points = _matmul_zero_point(a_zero_point, a_array.dtype, m, (m, 1), "a_zero_point")
    b_points = _matmul_zero_point(b_zero_point, b_array.dtype, n, (1, n), "b_zero_point")
    largest = _largest(a_array.dtype, a_points) * _largest(b_array.dtype, b_points)
    _checks.check_inner(k, largest, "a")
    batch = _batch(a_matrix, b_matrix)
    count = math.prod(batch)
    shape = batch + (m,) * (a_array.ndim > 1) + (n,) * (b_array.ndim > 1)
    inputs = {"a": a_array, "b": b_array, "a_zero_point": a_points, "b_zero_point": b_points}
    y = result(out, shape, _checks.INT32, inputs)
    _backend.backend.matmul_int8(
        _one_batch(a_matrix, batch, count),
        _one_batch(b_matrix, batch, count),
        a_points,
        b_points,
        y.reshape(count, m, n),
    )
    return y


def _batch(a: Array, b: Array) -> tuple[int, ...]:
    """Broadcast the leading axes."""
    if a.ndim == b.ndim == 2:
        return ()
    try:
        return np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"b: expected leading axes that broadcast with {a.shape[:-2]}, got {b.shape[:-2]}"
        ) from None


def _one_batch(x: Array, batch: tuple[int, ...], count: int) -> Array:
    """`x` with a single batch axis; a matrix shared by the whole batch is not copied."""
    if x.ndim == 2 and count == 1:
        return x[None]
    if math.prod(x.shape[:-2]) == 1:
        return np.broadcast_to(x.reshape(x.shape[-2:]), (count, *x.shape[-2:]))
    return np.broadcast_to(x, batch + x.shape[-2:]).reshape(count, *x.shape[-2:])


def _matmul_zero_point(
    value: ArrayLike | None, dtype: np.dtype[Any], size: int, column: tuple[int, int], name: str
) -> Array | None:
    """Return a zero point as int32 of size 1 or `size`; None when it is 0 everywhere."""
    if value is None:
        return None
    points = _checks.as_points(value, name, dtype)
    if points.size != 1 and points.shape not in ((size,), column):
        raise ValueError(
            f"{name}: expected one value or shape ({size},) or {column}, got {points.shape}"
        )
    return np.ascontiguousarray(points.reshape(-1), np.int32) if points.any() else None


def _largest(dtype: np.dtype[Any], points: Array | None) -> int:
    """Return the largest |code - zero point|."""
    lowest, highest = _checks.LIMITS[dtype]
    low, high = (0, 0) if points is None else (int(points.min()), int(points.max()))
    return max(high - lowest, highest - low)
