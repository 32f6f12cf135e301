# SPDX-License-Identifier: Apache-2.0
"""What a linear layer takes and gives: checks and conversions beside its fast path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks, _results
from octavo._types import Array
from octavo.nn.options import LinearOptions
from octavo.nn.side_paths import SidePath
from octavo.qtensor import QTensor


def nothing(*_: Any) -> None:
    """Stand in for the fast path of a layer that has none."""


def beside(call: Any, side: SidePath, k: int) -> Any:
    """`call` with a side path as its addend, for plain arrays; holds no layer either."""

    def called(x: Any, residual: Any, addend: Any, out: Any) -> Any:
        plain = type(x) is np.ndarray and x.dtype == np.float32 and x.flags.c_contiguous
        if not plain or addend is not None or x.ndim == 0 or x.shape[-1] != k:
            return None
        return call(x, residual, side(x), out)

    return called


def wrap(y: Array, options: LinearOptions) -> Array | QTensor:
    """Return the result as it is, or as a QTensor if it was requantized."""
    scale = options.output_scale
    return y if scale is None else QTensor(y, np.float32(scale), options.output_zero_point)


def wrapping(call: Any, options: LinearOptions) -> Any:
    """`call` with its result wrapped; holds no layer, so that no cycle keeps weights alive."""

    def wrapped(*arguments: Any) -> Any:
        y = call(*arguments)
        return None if y is None else wrap(y, options)

    return wrapped


def checked_rows(values: ArrayLike | None, name: str, shape: tuple[int, ...]) -> Array | None:
    """Check what is added to an output of `shape`, if anything; return rows of one axis."""
    if values is None:
        return None
    array = _checks.as_float32(values, name)
    _checks.check_shape(array, shape, name)
    return _checks.rows_of(array)


def output_rows(
    out: object, shape: tuple[int, ...], options: LinearOptions, inputs: Mapping[str, Array | None]
) -> Array | None:
    """Check what takes an output of `shape`, if anything; return rows of one axis."""
    if out is None:
        return None
    dtype = _results.FLOAT32 if options.output_scale is None else _checks.INT8
    checked = _results.result(out, shape, dtype, inputs)
    return checked.reshape(math.prod(shape[:-1]), shape[-1])


def owned(array: Array) -> Array:
    """Return an array that may be written to: what a layer computes with may not."""
    return array if array.flags.writeable else array.copy()


def rows_of_codes(x: QTensor) -> tuple[Array, Array, Array]:
    """Codes (M, K), scales (M,) and zero points (M,) of a QTensor with one scale per row or one."""
    if x.dtype != np.int8:
        raise TypeError(f"x: expected a QTensor of int8, got {x.dtype}")
    k = x.shape[-1]
    codes = np.ascontiguousarray(x.data).reshape(math.prod(x.shape[:-1]), k)
    per_row = (
        x.scale.ndim == 0
        or x.axis is None
        or (x.block_size is None and x.axis == 0 and x.ndim == 2)
        or (x.block_size is not None and x.axis == x.ndim - 1 and x.block_size >= k)
    )
    if not per_row:
        raise ValueError(f"x: expected one scale, or one per row, got {x!r}")
    rows = (codes.shape[0],)
    scales = np.broadcast_to(x.scale.reshape(-1), rows).astype(np.float32)
    return codes, scales, np.broadcast_to(x.zero_point.reshape(-1), rows).astype(np.int32)
