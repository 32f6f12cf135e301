# SPDX-License-Identifier: Apache-2.0
"""Where functions and layers write their results: into `out`, checked, or into a new array."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo import _backend, _checks
from octavo._types import Array

FLOAT32 = np.dtype(np.float32)


def result(
    out: object,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: Mapping[str, Array | None],
    in_place: tuple[str, ...] = (),
) -> Array:
    """Return `out` once it is known to take such a result, or a new array if it is None.

    Parameters
    ----------
    out : what a caller gave
    shape, dtype
        Of the result, which is then written as a whole.
    inputs : mapping of str to arrays
        What is read meanwhile, by the names of the arguments: it may not overlap.
    in_place : tuple of str
        Those that `out` may be, exactly.

    Raises
    ------
    TypeError, ValueError
        If it is no such array; the message names `out`, and the input.
    """
    if out is None:
        backend = _backend.backend
        if math.prod(shape) * dtype.itemsize < backend.SMALLEST_KEPT:
            return np.empty(shape, dtype)
        return backend.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out: expected a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out: expected {dtype}, got {out.dtype}")
    _checks.check_shape(out, shape, "out")
    flags = out.flags
    if not (flags.writeable and flags.aligned and flags.c_contiguous):
        wrong = "misaligned" if flags.writeable else "read-only"
        got = "other strides" if flags.writeable and flags.aligned else f"a {wrong} one"
        raise ValueError(f"out: expected a writable, aligned, C-contiguous array, got {got}")
    for name, array in inputs.items():
        if array is None or not np.may_share_memory(out, array):
            continue
        same = array.ctypes.data == out.ctypes.data and array.nbytes == out.nbytes
        if not (name in in_place and same and array.flags.c_contiguous):
            but = f", or exactly {name}" if name in in_place else ""
            raise ValueError(f"out: expected memory that does not overlap {name}{but}")
    return out
