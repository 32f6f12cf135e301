# SPDX-License-Identifier: Apache-2.0
"""GPTQ: what rounding one column did is taken over by the columns behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._scales import group_size, normal_scale
from octavo._types import Float64
from octavo.algorithms.pruning import InputHessian, selection
from octavo.algorithms.pruning.arguments import DAMPING, damped, matrix_of
from octavo.algorithms.pruning.second_order import inverse_factor
from octavo.algorithms.rounding import groups
from octavo.algorithms.rounding.nearest import Grid

_COLUMNS = 128
_FACTORS = np.linspace(1.0, 0.5, 26)
"""Parts of the largest magnitude that a searched scale may span; below half, no row gained."""


def gptq(
    weight: ArrayLike,
    hessian: InputHessian | ArrayLike,
    bits: int = 8,
    *,
    group: int | None = None,
    scale: str | ArrayLike = "search",
    damping: float = DAMPING,
    by_activation: bool = False,
    mask: ArrayLike | None = None,
    codebook: ArrayLike | None = None,
    columns: int = _COLUMNS,
) -> tuple[NDArray[np.int8], NDArray[Any]]:
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
        2 to 8: codes lie within ``2 ** (bits - 1) - 1`` of 0; in groups also one below.
    group : 32, 64 or 128, optional
        How many neighbouring inputs share a scale; default: all of a row. A scale is found when its
        group is reached, of what it has to make up for by then.
    scale : "search", "max" or float array of shape (N,), or (N, groups)
        Of each row or group. ``"max"`` maps the largest magnitude to the largest code.
        ``"search"`` takes what makes the expected error least; it matters below 8 bits.
    damping : float
        This share of the mean of the Hessian's diagonal is added to the diagonal.
    by_activation : bool
        Round the columns of the largest inputs first, while most others can still make up for
        them. Groups are of neighbours all the same, their scales those of the weight as it came.
    mask : bool array, shape (N, K), optional
        Codes are 0 where it is False.
    codebook : int array, shape (k,), optional
        The codes that may be used, within [-127, 127], instead of all of `bits`.
    columns : int
        Columns that are worked on together; changes the time, not the result.

    Returns
    -------
    (codes, scale) : int8 array, shape (N, K), and float32 array, shape (N,)
        The weight is about ``codes * scale[:, None]``; `Linear.from_quantized` takes them. In
        groups as of `nearest_groups`.

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
    levels = _checks.integer(bits, "bits", 2, 8)
    if group is not None and codebook is not None:
        raise ValueError("codebook: expected none beside group, got both")
    grid = Grid(levels, codebook, whole=group is not None)
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
    if group is None:
        scales: _Scales = _Scales(_row_scales(scale, target, grid, cost)[:, None], max(1, width))
    else:
        scales = _group_scales(scale, target, levels, cost, group_size(group), by_activation)
        step = max(scales.size, step - step % scales.size)
    nearest = grid.nearest(target / scales.spread(width))
    if keep is not None:
        nearest[~keep] = 0
    nearest_errors = _errors(target, nearest * scales.spread(width), full)
    first = scales.values.copy()
    codes = np.empty(array.shape, np.int8)
    kept = None if keep is None else keep[:, order]
    codes[:, order] = _round_columns(target[:, order], upper, scales, order, grid, kept, step)
    worse = _errors(target, codes * scales.spread(width), full) >= nearest_errors
    codes[worse], scales.values[worse] = nearest[worse], first[worse]
    found = scales.values.astype(scales.precision)
    return codes, found[:, 0] if group is None else found


class _Scales:
    """A scale for each row and group of columns, (N, groups), float64 of another type's values.

    `find`, if there is one, gets what is left of a group when it is reached, (N, size), and where
    it begins, and returns the scales that it then gets.
    """

    def __init__(
        self,
        values: Float64,
        size: int,
        precision: Any = np.float32,
        find: Callable[[Float64, int], NDArray[Any]] | None = None,
    ) -> None:
        self.values, self.size, self.precision, self.find = values, size, precision, find

    def spread(self, width: int) -> Float64:
        """Return the scale of each of so many columns."""
        return self.values.repeat(self.size, axis=1)[:, :width]


def _group_scales(
    scale: Any, target: Float64, bits: int, cost: Float64, size: int, static: bool
) -> _Scales:
    """Return the scales of groups of the weight as it is, and how to find them anew."""
    rows = groups.in_groups(target, size)
    if not isinstance(scale, str):
        given = _checks.as_float32(scale, "scale", float64=True)
        _checks.check_shape(given, rows.shape[:2], "scale")
        _checks.check_finite(given, "scale")
        if not given.all():
            raise ValueError("scale: expected values other than 0, got 0.0")
        return _Scales(given.astype(np.float64), size)
    choose = {"max": groups.plain_scales, "search": groups.search_scales}[
        _checks.choice(scale, "scale", groups.SCALES)
    ]
    precision = groups.scale_type(target, bits)

    def find(left: Float64, start: int) -> NDArray[Any]:
        return choose(left, bits, precision, cost[start : start + left.shape[1]])

    first = choose(rows, bits, precision, groups.in_groups(cost, size)).astype(np.float64)
    return _Scales(first, size, precision, None if static else find)


def _row_scales(scale: Any, target: Float64, grid: Grid, cost: Float64) -> Float64:
    """Return a scale for each row, float64 with float32's values.

    `cost` weighs the squared error of each column as it enters GPTQ's sum, where columns make up
    for each other: searched scales are those of least such sum.
    """
    if not isinstance(scale, str):
        given = _checks.as_float32(scale, "scale", float64=True)
        _checks.check_shape(given, (len(target),), "scale")
        _checks.check_scale(given, "scale")
        return given.astype(np.float64)
    _checks.choice(scale, "scale", groups.SCALES)
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
    scales: _Scales,
    order: NDArray[np.intp],
    grid: Grid,
    keep: NDArray[np.bool_] | None,
    step: int,
) -> NDArray[np.int8]:
    """Round from left to right, `step` columns at a time; `order` says which columns they are."""
    outputs, inputs = target.shape
    # Transposed: a column is then contiguous.
    rest, codes = np.ascontiguousarray(target.T), np.empty((inputs, outputs), np.int8)
    for start in range(0, inputs, step):
        end = min(start + step, inputs)
        part, local = rest[start:end], upper[start:end, start:end]
        errors = np.empty((end - start, outputs))
        for j in range(end - start):
            column, group = order[start + j], order[start + j] // scales.size
            if scales.find is not None and column % scales.size == 0:
                left = np.ascontiguousarray(part[j : j + scales.size].T)
                scales.values[:, group] = scales.find(left, column)
            scale = scales.values[:, group]
            rounded = grid.nearest(part[j] / scale)
            if keep is not None:
                rounded[~keep[:, start + j]] = 0
            codes[start + j] = rounded
            errors[j] = (part[j] - rounded * scale) / local[j, j]
            part[j + 1 :] -= np.outer(local[j, j + 1 :], errors[j])
        rest[end:] -= upper[start:end, end:].T @ errors
    return codes.T


def _errors(target: Float64, rounded: Float64, full: Float64) -> Float64:
    """Return the Hessian-weighted squared error of each row."""
    gap = target - rounded
    return np.einsum("ij,ij->i", gap @ full, gap)
