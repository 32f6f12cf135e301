# SPDX-License-Identifier: Apache-2.0
"""Weights in 16 bits: rounding to them, widening them a few rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _backend, _checks

__all__ = ["DTYPES", "HalfWeight", "to_half"]

Array = NDArray[Any]

DTYPES = ("float16", "bfloat16")


def to_half(values: ArrayLike, dtype: str = "float16", name: str = "values") -> Array:
    """Round floats to 16 bits, half to even.

    Parameters
    ----------
    values : float array, finite
    dtype : "float16" or "bfloat16"

    Returns
    -------
    float16 array; or for bfloat16 a uint16 array of its bits

    Raises
    ------
    ValueError
        If a value is not finite, or too large for float16.

    Examples
    --------
    >>> from octavo.nn._half_weight import to_half
    >>> to_half([1.0, -2.5], "bfloat16")
    array([16256, 49184], dtype=uint16)
    """
    chosen = _checks.choice(dtype, "dtype", DTYPES)
    array = _checks.as_float(values, name, float64=True)
    _checks.check_finite(array, name)
    if chosen == "float16":
        with np.errstate(over="ignore"):
            halves: Array = np.ascontiguousarray(array.astype(np.float16))
        if not np.isfinite(halves).all():
            worst = np.abs(array).max()
            raise ValueError(f"{name}: expected values up to 65504 for float16, got {worst}")
        return halves
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    # Half to even: what is cut off rounds up from the middle on, or if the rest is odd there.
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))
    if ((rounded & 0x7F80_0000) == 0x7F80_0000).any():
        raise ValueError(f"{name}: expected values that round to finite bfloat16")
    upper: Array = (rounded >> 16).astype(np.uint16)
    return upper


class HalfWeight:
    """A (N, K) matrix in 16 bits, widened a few rows at a time."""

    def __init__(self, values: ArrayLike, name: str) -> None:
        array = _checks.as_array(values, name)
        if array.dtype.name == "bfloat16":
            array = array.view(np.uint16)
        if array.dtype not in (np.float16, np.uint16):
            raise TypeError(
                f"{name}: expected float16, or bfloat16 as uint16, got {array.dtype}; `from_float` "
                "rounds"
            )
        _checks.check_shape(array, (None, None), name)
        self.values = np.ascontiguousarray(array)

    @property
    def dtype(self) -> str:
        return "float16" if self.values.dtype == np.float16 else "bfloat16"

    def rows(self, start: int, end: int, out: Array | None = None) -> Array:
        """Return some rows as float32."""
        part = self.values[start:end]
        widened: Array = np.empty(part.shape, np.float32) if out is None else out[: len(part)]
        _backend.backend.widen(part, widened)
        return widened
