# SPDX-License-Identifier: Apache-2.0
"""ADMM: the mask and the weights that stay are found together, in a fixed number of steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array, Float64
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

_STEPS = 20
_REFIT_STEPS = 40
_REFIT_TOLERANCE = 1e-5
"""Where the gradient is this part of the first one, more steps change nothing that int8 keeps."""


def admm(
    weight: ArrayLike,
    hessian: InputHessian | ArrayLike,
    sparsity: float | None = None,
    *,
    pattern: Pair | None = None,
    block: Pair | None = None,
    damping: float = DAMPING,
    steps: int = _STEPS,
) -> Array:
    """Prune a weight and fit the rest, so that the layer's outputs change little.

    Alternates between weights that fit the outputs and weights with enough zeros, drawing the two
    together; zeros grow along a cubic curve over the first three quarters of the steps. At the end
    the mask is fixed and the rest is fitted by least squares. Slower than `sparsegpt` and closer,
    since the mask may be revised.

    Parameters
    ----------
    weight, hessian, sparsity, pattern, block, damping
        As for `sparsegpt`; the share of zeros holds over the whole layer.
    steps : int

    Returns
    -------
    array of weight's dtype, shape (N, K)
        ``round(sparsity * N * K)`` entries are zero (of blocks: ``round(sparsity * blocks)``).

    Notes
    -----
    Boža: Fast and Effective Weight Update for Pruned Large Language Models, arXiv 2401.02938.
    Everything is computed in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> hessian = pruning.InputHessian(2)
    >>> hessian.update(np.array([[1.0, 1.0], [2.0, 2.0]]))
    >>> pruning.admm(np.array([[1.0, 2.0]]), hessian, 0.5).round(1)
    array([[0., 3.]])
    """
    array = selection.as_weight(weight)
    wanted = structure(sparsity, pattern, block)
    count = _checks.integer(steps, "steps", 1)
    target, unit, lengths = _of_unit_length(array, hessian, damping)
    try:
        inverse = np.linalg.inv(unit + np.eye(len(unit)))
    except np.linalg.LinAlgError:
        raise singular(damping) from None
    goal = target @ unit
    fitted, zeros, dual = target, target, np.zeros_like(target)
    growing = max(1, count * 3 // 4)
    mask = np.ones(target.shape, np.bool_)
    for step in range(1, count + 1):
        share = 1 - (1 - min(1.0, step / growing)) ** 3
        mask = _choose(fitted + dual, share, wanted, pattern, block)
        zeros = np.where(mask, fitted + dual, 0)
        dual = dual + fitted - zeros
        fitted = (goal + zeros - dual) @ inverse
    result: Array = _fit(target, unit, mask, np.where(mask, fitted, 0)) / lengths
    return np.asarray(result, dtype=array.dtype)


def refit(
    weight: ArrayLike,
    hessian: InputHessian | ArrayLike,
    mask: ArrayLike,
    *,
    damping: float = DAMPING,
) -> Array:
    """Fit the weights that a mask keeps, by least squares on the layer's outputs.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
        The dense weight.
    hessian, damping
        As for `sparsegpt`.
    mask : bool array, shape (N, K)
        True where a weight stays.

    Returns
    -------
    array of weight's dtype, shape (N, K)

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> pruning.refit(np.array([[1.0, 1.0]]), hessian, np.array([[True, False]]), damping=0)
    array([[1.5, 0. ]])
    """
    array = selection.as_weight(weight)
    keep = selection.as_mask(mask, array.shape)
    target, unit, lengths = _of_unit_length(array, hessian, damping)
    result: Array = _fit(target, unit, keep, np.where(keep, target, 0)) / lengths
    return np.asarray(result, dtype=array.dtype)


def _of_unit_length(
    weight: Array, hessian: InputHessian | ArrayLike, damping: float
) -> tuple[Float64, Float64, Float64]:
    """Return weight and Hessian for inputs of length 1, whose magnitudes compare; and lengths."""
    full = damped(matrix_of(hessian, weight.shape[1]), damping)
    squares = np.diagonal(full)
    if not (squares > 0).all():
        raise singular(damping)
    lengths = np.sqrt(squares)
    return weight.astype(np.float64) * lengths, full / np.outer(lengths, lengths), lengths


def _choose(
    values: Float64, share: float, sparsity: float, pattern: Pair | None, block: Pair | None
) -> Mask:
    """Return the mask of the largest entries, at some share of the zeros that are wanted."""
    if pattern is not None:
        n, m = pattern
        return selection.keep_groups(np.abs(values), m - round(share * (m - n)), m)
    if block is None:
        dropped = selection.count(share * sparsity, values.size)
        return selection.drop_smallest(np.abs(values), dropped)
    sums = selection.block_sums(values**2, *block)
    keep = selection.drop_smallest(sums, selection.count(share * sparsity, sums.size))
    return selection.spread(keep, *block, values.shape)


def _fit(target: Float64, unit: Float64, mask: Mask, start: Float64) -> Float64:
    """Minimize ``(target - w) unit (target - w).T`` of each row over the w that the mask allows.

    By conjugate gradients, all rows together.
    """
    solution = start
    residual = np.where(mask, (target - solution) @ unit, 0)
    direction = residual
    energy = np.einsum("ij,ij->i", residual, residual)
    enough = energy * _REFIT_TOLERANCE**2
    for _ in range(_REFIT_STEPS):
        active = energy > enough
        if not active.any():
            break
        moved = np.where(mask, direction @ unit, 0)
        curvature = np.einsum("ij,ij->i", direction, moved)
        step = np.divide(energy, curvature, out=np.zeros_like(energy), where=active)
        solution = solution + step[:, None] * direction
        residual = residual - step[:, None] * moved
        latest = np.einsum("ij,ij->i", residual, residual)
        ratio = np.divide(latest, energy, out=np.zeros_like(energy), where=active)
        direction = residual + ratio[:, None] * direction
        energy = latest
    return solution
