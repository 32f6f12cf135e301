# SPDX-License-Identifier: Apache-2.0
"""Rounding weights with a look at what they are multiplied with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._ops.quantize import quantize_linear
from octavo._scales import normal_scale
from octavo._types import Float64
from octavo.algorithms.pruning import InputHessian, selection
from octavo.algorithms.pruning.arguments import DAMPING, damped, matrix_of
from octavo.algorithms.pruning.second_order import inverse_factor

_COLUMNS = 128
_SCALES = ("max", "search")
_FACTORS = np.linspace(1.0, 0.5, 26)
"""Parts of the largest magnitude that a searched scale may span; below half, no row gained."""


def gptq(
    weight: ArrayLike,
    hessian: InputHessian | ArrayLike,
    bits: int = 8,
    *,
    scale: str | ArrayLike = "search",
    damping: float = DAMPING,
    by_activation: bool = False,
    mask: ArrayLike | None = None,
    codebook: ArrayLike | None = None,
    columns: int = _COLUMNS,
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize a weight so that the layer's outputs change little.

    Columns are rounded one after the other; those still to come take over the error of each, as
    the inverse Hessian says. A row that rounding to nearest keeps closer is rounded to nearest, so
    the result is never worse than that.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    hessian : InputHessian or float array of shape (K, K)
        The mean of x xᵀ over calibration rows, of what the weight is multiplied with.
    bits : int
        2 to 8: codes lie within ``2 ** (bits - 1) - 1`` of 0.
    scale : "search", "max" or float array of shape (N,)
        Of each row. ``"max"`` maps the largest magnitude to the largest code. ``"search"`` clips
        as much as makes the expected error least; it matters below 8 bits.
    damping : float
        This share of the mean of the Hessian's diagonal is added to the diagonal.
    by_activation : bool
        Round the columns of the largest inputs first, while most others can still make up for
        them.
    mask : bool array, shape (N, K), optional
        Codes are 0 where it is False.
    codebook : int array, shape (k,), optional
        The codes that may be used, within [-127, 127], instead of all of `bits`.
    columns : int
        Columns that are worked on together; changes the time, not the result.

    Returns
    -------
    (codes, scale) : int8 array, shape (N, K), and float32 array, shape (N,)
        The weight is about ``codes * scale[:, None]``; `Linear.from_quantized` takes them.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit each other, a weight or Hessian with NaN or infinity, or a
        Hessian that is singular and not damped.

    Notes
    -----
    Frantar, Ashkboos, Hoefler, Alistarh: GPTQ: Accurate Post-Training Quantization for Generative
    Pre-trained Transformers, ICLR 2023, arXiv 2210.17323. Everything is computed in float64. Where
    inputs are all zero, weights are rounded to nearest.

    Examples
    --------
    Two inputs that are always equal: what the first weight loses, the second makes up for.

    >>> import numpy as np
    >>> from octavo.algorithms.rounding import gptq
    >>> hessian = np.ones((2, 2))
    >>> codes, scale = gptq(np.array([[1.4, 3.4]]), hessian, scale=np.array([1.0]))
    >>> codes
    array([[1, 4]], dtype=int8)
    """
    array = selection.as_weight(weight)
    width = array.shape[1]
    grid = _Grid(_checks.integer(bits, "bits", 2, 8), codebook)
    keep = None if mask is None else selection.as_mask(mask, array.shape)
    step = _checks.integer(columns, "columns", 1)
    target = array.astype(np.float64)
    if keep is not None:
        target = np.where(keep, target, 0)
    full = damped(matrix_of(hessian, width), damping)
    order = np.arange(width)
    if _checks.boolean(by_activation, "by_activation"):
        order = np.argsort(-np.diagonal(full), kind="stable")
    upper = inverse_factor(full[np.ix_(order, order)], damping)
    cost = np.empty(width)
    cost[order] = 1 / np.square(np.diagonal(upper))
    scales = _row_scales(scale, target, grid, cost)
    ordered = None if keep is None else keep[:, order]
    codes = np.empty(array.shape, np.int8)
    codes[:, order] = _round_columns(target[:, order], upper, scales, grid, ordered, step)
    nearest = grid.nearest(target / scales[:, None])
    if keep is not None:
        nearest[~keep] = 0
    worse = _errors(target, codes, scales, full) >= _errors(target, nearest, scales, full)
    codes[worse] = nearest[worse]
    return codes, scales.astype(np.float32)


def nearest_rows(
    weight: NDArray[np.float32], bits: int = 8
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row symmetrically over its own range, as `octavo.quantize` does with 8 bits.

    Parameters
    ----------
    weight : float32 array, shape (N, K), finite
    bits : int
        2 to 8, as in `gptq`.

    Returns
    -------
    (codes, scale) : int8 array, shape (N, K), and float32 array, shape (N,)
        The scale of a row without range is 1.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.rounding import nearest_rows
    >>> nearest_rows(np.array([[3.5, -0.6], [0, 0]], np.float32), bits=4)
    (array([[ 7, -1],
           [ 0,  0]], dtype=int8), array([0.5, 1. ], dtype=float32))
    """
    largest = np.abs(weight).max(axis=1, initial=0)
    with np.errstate(under="ignore"):
        scale = normal_scale(largest / np.float32(2 ** (bits - 1) - 1), largest == 0)
    return quantize_linear(weight, scale, axis=0), scale


class _Grid:
    """The codes that may be used."""

    def __init__(self, bits: int, codebook: ArrayLike | None) -> None:
        self._values: Float64 | None = None
        self.largest = float(2 ** (bits - 1) - 1)
        if codebook is None:
            return
        array = _checks.as_array(codebook, "codebook")
        if array.dtype.kind not in "iu":
            raise TypeError(f"codebook: expected integers, got {array.dtype}")
        _checks.check_shape(array, (None,), "codebook")
        if not array.size or array.min() < -127 or array.max() > 127:
            raise ValueError(
                "codebook: expected values in [-127, 127], got "
                + (f"{array.min()} to {array.max()}" if array.size else "none")
            )
        self._values = np.unique(array).astype(np.float64)
        # Of zeros alone, as a weight of zeros has, any scale will do.
        self.largest = float(np.abs(self._values).max()) or 1.0

    def nearest(self, values: Float64) -> NDArray[np.int8]:
        """Return the nearest code of each value; of two, the even one (the lower in a codebook)."""
        if self._values is None:
            return np.clip(np.rint(values), -self.largest, self.largest).astype(np.int8)
        middles = (self._values[1:] + self._values[:-1]) / 2
        return self._values[np.searchsorted(middles, values)].astype(np.int8)


def _row_scales(scale: Any, target: Float64, grid: _Grid, cost: Float64) -> Float64:
    """Return a scale for each row, float64 with float32's values.

    `cost` weighs the squared error of each column as it enters GPTQ's sum, where columns make up
    for each other: searched scales are those of least such sum.
    """
    if not isinstance(scale, str):
        given = _checks.as_float32(scale, "scale", float64=True)
        _checks.check_shape(given, (len(target),), "scale")
        _checks.check_scale(given, "scale")
        return given.astype(np.float64)
    _checks.choice(scale, "scale", _SCALES)
    reach = np.abs(target).max(axis=1, initial=0)
    full = _as_scale(reach / grid.largest, reach == 0)
    if scale == "max":
        return full
    best, least = full, np.full(len(target), np.inf)
    for factor in _FACTORS:
        tried = _as_scale(full * factor, reach == 0)
        gap = target - grid.nearest(target / tried[:, None]) * tried[:, None]
        error = np.square(gap) @ cost
        best = np.where(error < least, tried, best)
        least = np.minimum(error, least)
    return best


def _as_scale(values: Float64, empty: NDArray[np.bool_]) -> Float64:
    return normal_scale(values.astype(np.float32), empty).astype(np.float64)


def _round_columns(
    target: Float64,
    upper: Float64,
    scales: Float64,
    grid: _Grid,
    keep: NDArray[np.bool_] | None,
    step: int,
) -> NDArray[np.int8]:
    """Round from left to right, `step` columns at a time."""
    outputs, inputs = target.shape
    # Transposed: a column is then contiguous.
    rest, codes = np.ascontiguousarray(target.T), np.empty((inputs, outputs), np.int8)
    for start in range(0, inputs, step):
        end = min(start + step, inputs)
        part, local = rest[start:end], upper[start:end, start:end]
        errors = np.empty((end - start, outputs))
        for j in range(end - start):
            rounded = grid.nearest(part[j] / scales)
            if keep is not None:
                rounded[~keep[:, start + j]] = 0
            codes[start + j] = rounded
            errors[j] = (part[j] - rounded * scales) / local[j, j]
            part[j + 1 :] -= np.outer(local[j, j + 1 :], errors[j])
        rest[end:] -= upper[start:end, end:].T @ errors
    return codes.T


def _errors(target: Float64, codes: NDArray[np.int8], scales: Float64, full: Float64) -> Float64:
    """Return the Hessian-weighted squared error of each row."""
    gap = target - codes * scales[:, None]
    return np.einsum("ij,ij->i", gap @ full, gap)
