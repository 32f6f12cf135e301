# SPDX-License-Identifier: Apache-2.0
"""Pruning that looks at a layer's inputs: Wanda, and SparseGPT with its update of the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo.pruning import _select
from octavo.pruning._select import Array, Mask
from octavo.pruning.statistics import InputHessian, InputNorms

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["sparsegpt", "wanda"]

_COLUMNS = 128
_DAMPING = 0.01

Pair = tuple[int, int]
Choice = Callable[[Array, int], Mask]
"""Gets the costs of some columns and where those end; returns what stays."""


def wanda(
    weight: ArrayLike,
    inputs: InputNorms | InputHessian | ArrayLike,
    sparsity: float | None = None,
    *,
    pattern: Pair | None = None,
    block: Pair | None = None,
) -> Mask:
    """Keep the weights of largest ``|w| * norm of the input``, compared within each output row.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    inputs : InputNorms, InputHessian or float array of shape (K,)
        The L2 norm of each input channel over calibration rows.
    sparsity : float, optional
        Share of zeros in each row, in [0, 1).
    pattern : (n, m), optional
        Keep `n` of every `m` instead; see `nm`.
    block : (rows, cols), optional
        With `sparsity`: keep whole blocks, by the L2 norm of their scores and compared within each
        row of blocks.

    Returns
    -------
    bool array, shape (N, K)
        ``round(sparsity * K)`` entries of each row are False; of equal scores the first go.

    Notes
    -----
    Sun, Liu, Bair, Kolter: A Simple and Effective Pruning Approach for Large Language Models,
    arXiv 2306.11695.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo import pruning
    >>> pruning.wanda(np.array([[3.0, 1.0], [1.0, 1.0]]), np.array([1.0, 5.0]), 0.5)
    array([[False,  True],
           [False,  True]])
    """
    array = _select.as_weight(weight)
    scores = np.abs(array.astype(np.float64)) * _norms(inputs, array.shape[1])
    wanted = _structure(sparsity, pattern, block)
    if pattern is not None:
        return _select.keep_groups(scores, *_select.group_of(*pattern))
    if block is None:
        return _select.drop_smallest_of_rows(scores, _select.count(wanted, scores.shape[1]))
    sums = _select.block_sums(scores**2, *_select.block_of(*block))
    keep = _select.drop_smallest_of_rows(sums, _select.count(wanted, sums.shape[1]))
    return _select.spread(keep, *block, array.shape)


def sparsegpt(
    weight: ArrayLike,
    hessian: InputHessian | ArrayLike,
    sparsity: float | None = None,
    *,
    pattern: Pair | None = None,
    block: Pair | None = None,
    damping: float = _DAMPING,
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
        Among others for a Hessian of another width, of inputs that are all zero, or one that is
        singular and not damped.

    Notes
    -----
    Frantar, Alistarh: SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot,
    arXiv 2301.00774. Everything is computed in float64.

    Examples
    --------
    Two inputs that are always equal: the second weight takes over from the first.

    >>> import numpy as np
    >>> from octavo import pruning
    >>> hessian = pruning.InputHessian(2)
    >>> hessian.update(np.array([[1.0, 1.0], [2.0, 2.0]]))
    >>> pruning.sparsegpt(np.array([[1.0, 2.0]]), hessian, 0.5).round(1)
    array([[0., 3.]])
    """
    array = _select.as_weight(weight)
    wanted = _structure(sparsity, pattern, block)
    step = _checks.integer(columns, "columns", 1)
    upper = _inverse_factor(_matrix(hessian, array.shape[1]), damping)
    # Transposed: a column is then contiguous.
    rest = np.ascontiguousarray(array.T, dtype=np.float64)
    if pattern is not None:
        kept, size = _select.group_of(*pattern)
        _prune_columns(rest, upper, max(size, step - step % size), None, (kept, size))
    else:
        rows, cols = (1, 1) if block is None else _select.block_of(*block)
        choose = _BlockChoice(array.shape[0], wanted, rows, cols)
        _prune_columns(rest, upper, max(cols, step - step % cols), choose, None)
    return np.ascontiguousarray(rest.T, dtype=array.dtype)


def _structure(sparsity: float | None, pattern: Pair | None, block: Pair | None) -> float:
    """Check that the arguments ask for one thing; return the sparsity, 0 for a pattern."""
    if pattern is not None:
        if sparsity is not None or block is not None:
            other = "sparsity" if sparsity is not None else "block"
            raise ValueError(f"pattern: expected without {other}, got both")
        _select.group_of(*_pair(pattern, "pattern"))
        return 0.0
    if sparsity is None:
        raise ValueError("sparsity: expected a share of zeros, or a pattern, got neither")
    if block is not None:
        _select.block_of(*_pair(block, "block"))
    return _select.share(sparsity)


def _pair(value: Any, name: str) -> Pair:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: expected two integers, got {value!r}")
    return value[0], value[1]


def _norms(inputs: Any, width: int) -> Array:
    if isinstance(inputs, (InputNorms, InputHessian)):
        norms = inputs.norms()
    else:
        norms = _checks.as_array(inputs, "inputs")
        if norms.dtype.kind != "f":
            raise TypeError(f"inputs: expected floats, got {norms.dtype}")
        _checks.check_finite(norms, "inputs")
        if (norms < 0).any():
            raise ValueError("inputs: expected norms, which are not negative")
    _checks.check_shape(norms, (width,), "inputs")
    return norms


def _matrix(hessian: Any, width: int) -> Array:
    if isinstance(hessian, InputHessian):
        matrix = hessian.matrix()
    else:
        matrix = _select.as_weight(hessian, "hessian").astype(np.float64)
    _checks.check_shape(matrix, (width, width), "hessian")
    return matrix


def _inverse_factor(matrix: Array, damping: float) -> Array:
    """Return the upper triangular U with ``inv(damped matrix) == U.T @ U``."""
    ratio = _checks.real(damping, "damping")
    if ratio < 0:
        raise ValueError(f"damping: expected a value of at least 0, got {ratio}")
    mean = float(np.diagonal(matrix).mean()) if matrix.size else 1.0
    if mean <= 0:
        raise ValueError("hessian: expected calibration inputs that are not all zero")
    damped = matrix + ratio * mean * np.eye(len(matrix))
    try:
        # Backwards, so that the factor is upper times its transpose: its inverse is U.
        factor = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    except np.linalg.LinAlgError:
        raise ValueError(
            f"hessian: expected a positive definite matrix, got a singular one at damping {ratio};"
            " take more calibration rows or more damping"
        ) from None
    return np.triu(np.linalg.solve(factor, np.eye(len(matrix))))


class _BlockChoice:
    """The cheapest blocks of some columns go; over all columns the count is exact."""

    def __init__(self, outputs: int, sparsity: float, rows: int, cols: int) -> None:
        self._height = -(-outputs // rows)
        self._sparsity, self._rows, self._cols, self._gone = sparsity, rows, cols, 0

    def __call__(self, costs: Array, end: int) -> Mask:
        blocks = self._height * -(-end // self._cols)
        dropped = _select.count(self._sparsity, blocks) - self._gone
        self._gone += dropped
        keep = _select.drop_smallest(_select.block_sums(costs, self._rows, self._cols), dropped)
        return _select.spread(keep, self._rows, self._cols, costs.shape)


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
                keep[:, group] = _select.keep_groups(costs, *pattern)
            gone = ~keep[:, j]
            errors[j, gone] = part[j, gone] / scale[j]
            part[j + 1 :] -= np.outer(local[j, j + 1 :], errors[j])
            part[j, gone] = 0
        rest[end:] -= upper[start:end, end:].T @ errors
