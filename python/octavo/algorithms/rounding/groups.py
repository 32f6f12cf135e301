# SPDX-License-Identifier: Apache-2.0
"""Rounding groups of inputs to nearest, with the scales that lose least."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._ops.quantize import quantize_dynamic
from octavo._scales import group_size
from octavo._types import Array
from octavo.algorithms.pruning import selection

SCALES = ("max", "search")

_FACTORS = (1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""Parts of the largest magnitude that the lowest code is tried to stand for."""
_AT_ONCE = 1 << 16
"""Weights whose scales are searched together: what that takes stays in the cache."""
_HALF = 2.0**-12, 2.0**15
"""A weight whose largest scale is in this range has scales of 16 bits.

In the lower half of the range of float16 numbers lose precision; scales that are a thousandth of
the largest may.
"""


def nearest_groups(
    weight: ArrayLike,
    group: int = 32,
    bits: int = 4,
    *,
    scale: str = "search",
    importance: ArrayLike | None = None,
) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """Round a weight to nearest, with a scale for each row and group of inputs.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    group : 32, 64 or 128
        How many neighbouring inputs share a scale; the last of a row may be fewer.
    bits : int
        2 to 8: codes are in ``[-2 ** (bits - 1), 2 ** (bits - 1) - 1]``.
    scale : "search" or "max"
        ``"max"`` maps the largest magnitude of a group to the largest code. ``"search"`` tries
        others, also negative ones, with which the lowest code stands for what is largest, and takes
        that of the least squared error.
    importance : float array, shape (K,), at least 0, optional
        What the squared error of each column counts: the mean square of its input. Without it all
        count the same.

    Returns
    -------
    (codes, scale) : int8 array, shape (N, K), and float16 or float32 array, shape (N, groups)
        As `Int4Weight.from_quantized` takes them. Scales are float16 unless that is too narrow.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit each other, NaN or infinity.

    Notes
    -----
    Weights are rounded with each candidate, and the scale is then fitted to the codes by least
    squares, as the quantizers of llama.cpp do (ggml, `quantize_row_q4_0` with weights).

    Examples
    --------
    Between 0 and the largest code there are seven steps of these weights, between 0 and the lowest
    eight.

    >>> import numpy as np
    >>> from octavo.algorithms.rounding import nearest_groups
    >>> weight = np.linspace(0, 0.8, 9)[None]
    >>> for scale in ("max", "search"):
    ...     codes, scales = nearest_groups(weight, scale=scale)
    ...     print(f"{scales[0, 0]:.2f} {np.abs(codes * scales - weight).max():.2f}")
    0.11 0.06
    -0.10 0.00
    """
    array = selection.as_weight(weight)
    size = group_size(group)
    levels = _checks.integer(bits, "bits", 2, 8)
    searched = _checks.choice(scale, "scale", SCALES) == "search"
    n, k = array.shape
    counts = None if importance is None else in_groups(_importance(importance, k), size)
    precision = scale_type(array, levels)
    codes = np.empty((n, -(-k // size) * size), np.int8)
    scales = np.empty((n, -(-k // size)), precision)
    step = max(1, _AT_ONCE // max(1, k))
    for start in range(0, n, step):
        rows = in_groups(array[start : start + step].astype(np.float32), size)
        find = search_scales if searched else plain_scales
        found = find(rows, levels, precision, counts)
        scales[start : start + step] = found
        codes[start : start + step] = nearest_codes(rows, found, levels).reshape(len(rows), -1)
    return np.ascontiguousarray(codes[:, :k]), scales


def dequantized(codes: Array, scale: Array, group: int | None = None) -> Array:
    """Return codes times the scales of their rows or groups.

    Parameters
    ----------
    codes : int8 array, shape (N, K)
    scale : float array, shape (N,), or (N, groups) with a group
    group : int, optional

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.rounding import dequantized
    >>> dequantized(np.array([[7, -2]], np.int8), np.array([[0.5]]), group=32)
    array([[ 3.5, -1. ]], dtype=float32)
    """
    if group is None:
        return codes * scale[:, None]
    values: Array = codes * scale.astype(np.float32).repeat(group, axis=1)[:, : codes.shape[1]]
    return values


def rounded_inputs(x: Array, group: int) -> Array:
    """Return inputs as a layer in groups reads them: int8 codes times the scale of their group.

    Parameters
    ----------
    x : float32 array, shape (rows, K)
    group : int

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.rounding import rounded_inputs
    >>> rounded_inputs(np.array([[1.27, 0.004, 0.006]], np.float32), 32).round(6)
    array([[1.27, 0.  , 0.01]], dtype=float32)
    """
    rows = in_groups(x, group)
    codes, scale, _ = quantize_dynamic(rows, symmetric=True)
    read: Array = codes * scale[..., None]
    return read.reshape(len(x), -1)[:, : x.shape[1]]


def in_groups(rows: Array, size: int) -> Array:
    """Return (..., K) as (..., groups, size), the last group filled up with zeros."""
    *leading, k = rows.shape
    if k % size:
        widths = [(0, 0)] * len(leading) + [(0, -k % size)]
        rows = np.pad(rows, widths)
    return rows.reshape(*leading, -(-k // size), size)


def scale_type(weight: Array, bits: int) -> type[np.floating[Any]]:
    """Return the type of a weight's scales: float16, or float32 where that is too narrow."""
    largest = float(np.abs(weight).max(initial=0)) / 2 ** (bits - 1)
    return np.float16 if not largest or _HALF[0] <= largest <= _HALF[1] else np.float32


def nearest_codes(rows: Array, scales: Array, bits: int) -> NDArray[np.int8]:
    """Return the codes of groups (..., size) that are nearest by their scales (...)."""
    lowest = -(2 ** (bits - 1))
    codes = np.rint(rows / scales[..., None].astype(rows.dtype))
    return np.clip(codes, lowest, -lowest - 1).astype(np.int8)


def plain_scales(rows: Array, bits: int, precision: Any, importance: Any = None) -> Array:  # noqa: ARG001
    """Return scales of groups (..., size) by which the largest magnitude has the largest code."""
    return _stored(np.abs(rows).max(axis=-1) / (2 ** (bits - 1) - 1), precision)


def search_scales(
    rows: Array, bits: int, precision: Any, importance: Array | None = None
) -> NDArray[Any]:
    """Return the scales of groups with which rounding to nearest loses least.

    Parameters
    ----------
    rows : float array, shape (..., size)
    bits : int
    precision : type
        Of the scales.
    importance : float array that fits rows, optional
        What the squared error of each weight counts.
    """
    lowest, largest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    at = np.abs(rows).argmax(axis=-1)[..., None]
    extreme = np.take_along_axis(rows, at, axis=-1)
    # Relative to the largest: nothing overflows, and all groups are tried with the same steps.
    parts = np.divide(rows, extreme, out=np.zeros_like(rows), where=extreme != 0)
    best = np.zeros(at.shape[:-1], rows.dtype)
    fitted = np.zeros_like(best)
    for steps in (largest, *(lowest / factor for factor in _FACTORS)):
        codes = np.clip(np.rint(parts * rows.dtype.type(steps)), lowest, largest)
        counted = codes if importance is None else codes * importance
        along = np.einsum("...i,...i->...", counted, parts)
        square = np.einsum("...i,...i->...", counted, codes)
        # With the scale along / square, which fits these codes best, so much less is lost.
        gain = np.divide(np.square(along), square, out=np.zeros_like(best), where=square > 0)
        better = gain > best
        best[better] = gain[better]
        fitted[better] = along[better] / square[better]
    plain = plain_scales(rows, bits, precision)
    found = _stored(fitted * extreme[..., 0], precision)

    def errors(scales: NDArray[Any]) -> Array:
        gap = rows - nearest_codes(rows, scales, bits) * scales[..., None].astype(rows.dtype)
        square = np.square(np.divide(gap, extreme, out=gap, where=extreme != 0))
        return (square if importance is None else square * importance).sum(axis=-1)

    return np.where(errors(found) < errors(plain), found, plain)


def _stored(scales: Array, precision: Any) -> NDArray[Any]:
    """Return scales in a type, 1 where they vanish: what is that small has the code 0."""
    most = np.finfo(precision).max
    found = np.clip(scales, -most, most).astype(precision)
    found[found == 0] = 1
    return found


def _importance(values: ArrayLike, width: int) -> Array:
    """Return what columns count, relative to the mean; all alike if none counts anything."""
    array = _checks.as_float32(values, "importance", float64=True)
    _checks.check_shape(array, (width,), "importance")
    _checks.check_finite(array, "importance")
    if array.size and array.min() < 0:
        raise ValueError(f"importance: expected values of at least 0, got {array.min()}")
    mean = float(array.mean(dtype=np.float64)) if array.size else 0.0
    return array / np.float32(mean) if mean else np.ones_like(array)
