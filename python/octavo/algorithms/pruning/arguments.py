# SPDX-License-Identifier: Apache-2.0
"""Arguments that several methods share."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo import _checks
from octavo._types import Array
from octavo.algorithms.pruning import selection
from octavo.algorithms.pruning.statistics import InputHessian

Pair = tuple[int, int]

DAMPING = 0.01


def structure(sparsity: float | None, pattern: Pair | None, block: Pair | None) -> float:
    """Check that the arguments ask for one thing; return the sparsity, 0 for a pattern."""
    if pattern is not None:
        if sparsity is not None or block is not None:
            other = "sparsity" if sparsity is not None else "block"
            raise ValueError(f"pattern: expected without {other}, got both")
        selection.group_of(*pair(pattern, "pattern"))
        return 0.0
    if sparsity is None:
        raise ValueError("sparsity: expected a share of zeros, or a pattern, got neither")
    if block is not None:
        selection.block_of(*pair(block, "block"))
    return selection.share(sparsity)


def pair(value: Any, name: str) -> Pair:
    """Return two values."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: expected two integers, got {value!r}")
    return value[0], value[1]


def matrix_of(hessian: Any, width: int) -> Array:
    """Return the (width, width) matrix of a Hessian."""
    if isinstance(hessian, InputHessian):
        matrix = hessian.matrix()
    else:
        matrix = selection.as_weight(hessian, "hessian").astype(np.float64)
    _checks.check_shape(matrix, (width, width), "hessian")
    return matrix


def damped(matrix: Array, damping: float) -> Array:
    """Return the matrix with a share of its mean diagonal added to the diagonal.

    An input that was always 0 says nothing about its weights: its entry is not 0 even if the share
    is. So without any data, each weight stands for itself.
    """
    ratio = _checks.real(damping, "damping", "[0, inf)")
    mean = float(np.diagonal(matrix).mean()) if matrix.size else 1.0
    result: Array = matrix + ratio * mean * np.eye(len(matrix))
    silent = np.flatnonzero(np.diagonal(result) == 0)
    result[silent, silent] = DAMPING * mean or 1.0
    return result


def singular(damping: float) -> ValueError:
    """Return the error for a matrix that cannot be factorized."""
    return ValueError(
        f"hessian: expected a positive definite matrix, got a singular one at damping {damping};"
        " take more calibration rows or more damping"
    )
