# SPDX-License-Identifier: Apache-2.0
"""SparseGPT: what a pruned weight did is taken over by the columns to its right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._types import Array
from octavo.algorithms.pruning import selection
from octavo.algorithms.pruning.arguments import (
    DAMPING,
    Pair,
    damped,
    matrix_of,
    singular,
    structure,
)
from octavo.algorithms.pruning.selection import Mask
from octavo.algorithms.pruning.statistics import InputHessian

_COLUMNS = 128

Choice = Callable[[Array, int], Mask]
"""Gets the costs of some columns and where those end; returns what stays."""


def sparsegpt(
    weight: ArrayLike,
    hessian: InputHessian | ArrayLike,
    sparsity: float | None = None,
    *,
    pattern: Pair | None = None,
    block: Pair | None = None,
    damping: float = DAMPING,
    columns: int = _COLUMNS,
) -> Array:
    """Prune a weight and move the rest, so that the layer's outputs change little.

    Columns are visited from left to right. A weight that goes costs ``w² / d²``, `d` from the
    Cholesky factor of the inverse Hessian; the columns still to come take over what it did.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    hessian : InputHessian or float array of shape (K, K)
        The mean of x xᵀ over calibration rows.
    sparsity : float, optional
        Share of zeros, in [0, 1), the same in every group of `columns` columns.
    pattern : (n, m), optional
        Keep `n` of every `m` instead; see `nm`.
    block : (rows, cols), optional
        With `sparsity`: whole blocks go, by the sum of their costs.
    damping : float
        This share of the mean of the Hessian's diagonal is added to the diagonal.
    columns : int
        Columns whose mask is chosen together; rounded down to whole groups or blocks.

    Returns
    -------
    array of weight's dtype, shape (N, K)
        ``round(sparsity * N * K)`` entries are zero (of blocks: ``round(sparsity * blocks)``).

    Raises
    ------
    ValueError
        Among others for a Hessian of another width, or one that is singular and not damped.

    Notes
    -----
    Frantar, Alistarh: SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot,
    arXiv 2301.00774. Everything is computed in float64. Of inputs that are all zero nothing can be
    learned: weights then go by magnitude, and the others stay.

    Examples
    --------
    Two inputs that are always equal: the second weight takes over from the first.

    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> hessian = pruning.InputHessian(2)
    >>> hessian.update(np.array([[1.0, 1.0], [2.0, 2.0]]))
    >>> pruning.sparsegpt(np.array([[1.0, 2.0]]), hessian, 0.5).round(1)
    array([[0., 3.]])
    """
    array = selection.as_weight(weight)
    wanted = structure(sparsity, pattern, block)
    step = _checks.integer(columns, "columns", 1)
    upper = inverse_factor(damped(matrix_of(hessian, array.shape[1]), damping), damping)
    # Transposed: a column is then contiguous.
    rest = np.ascontiguousarray(array.T, dtype=np.float64)
    if pattern is not None:
        kept, size = selection.group_of(*pattern)
        _prune_columns(rest, upper, max(size, step - step % size), None, (kept, size))
    else:
        rows, cols = (1, 1) if block is None else selection.block_of(*block)
        choose = _BlockChoice(array.shape[0], wanted, rows, cols)
        _prune_columns(rest, upper, max(cols, step - step % cols), choose, None)
    return np.ascontiguousarray(rest.T, dtype=array.dtype)


def inverse_factor(full: Array, damping: float) -> Array:
    """Return the upper triangular U with ``inv(full) == U.T @ U``, of a damped Hessian.

    Its row i, divided by its first entry, says how the columns behind column i make up for it.
    """
    try:
        # Backwards, so that the factor is upper times its transpose: its inverse is U.
        factor = np.linalg.cholesky(full[::-1, ::-1])[::-1, ::-1]
    except np.linalg.LinAlgError:
        raise singular(damping) from None
    return np.triu(np.linalg.solve(factor, np.eye(len(full))))


class _BlockChoice:
    """The cheapest blocks of some columns go; over all columns the count is exact."""

    def __init__(self, outputs: int, sparsity: float, rows: int, cols: int) -> None:
        self._height = -(-outputs // rows)
        self._sparsity, self._rows, self._cols, self._gone = sparsity, rows, cols, 0

    def __call__(self, costs: Array, end: int) -> Mask:
        blocks = self._height * -(-end // self._cols)
        dropped = selection.count(self._sparsity, blocks) - self._gone
        self._gone += dropped
        keep = selection.drop_smallest(selection.block_sums(costs, self._rows, self._cols), dropped)
        return selection.spread(keep, self._rows, self._cols, costs.shape)


def _prune_columns(
    rest: NDArray[np.float64],
    upper: Array,
    step: int,
    choose: Choice | None,
    pattern: Pair | None,
) -> None:
    """Prune the transposed weight in place, `step` columns at a time.

    With a pattern the mask of each group is chosen when its turn comes, else for all of the
    `step` columns at once.
    """
    inputs, outputs = rest.shape
    for start in range(0, inputs, step):
        end = min(start + step, inputs)
        part, local = rest[start:end], upper[start:end, start:end]
        scale = np.diagonal(local)
        keep = np.empty((outputs, end - start), np.bool_)
        if choose is not None:
            keep[:] = choose((part / scale[:, None]).T ** 2, end)
        errors = np.zeros((end - start, outputs))
        for j in range(end - start):
            if pattern is not None and j % pattern[1] == 0:
                group = slice(j, j + pattern[1])
                costs = (part[group] / scale[group, None]).T ** 2
                keep[:, group] = selection.keep_groups(costs, *pattern)
            gone = ~keep[:, j]
            errors[j, gone] = part[j, gone] / scale[j]
            part[j + 1 :] -= np.outer(local[j, j + 1 :], errors[j])
            part[j, gone] = 0
        rest[end:] -= upper[start:end, end:].T @ errors
