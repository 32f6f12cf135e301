# SPDX-License-Identifier: Apache-2.0
"""Masks from the weights themselves: magnitude, N:M, blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array
from octavo.algorithms.pruning import selection
from octavo.algorithms.pruning.selection import Mask

NORMS = ("l1", "l2")


def magnitude(weight: ArrayLike, sparsity: float) -> Mask:
    """Keep the weights of largest magnitude.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    sparsity : float
        Share of zeros, in [0, 1).

    Returns
    -------
    bool array, shape (N, K)
        True where a weight stays. ``round(sparsity * N * K)`` entries are False; of equal
        magnitudes the first in row order go.

    Raises
    ------
    TypeError, ValueError
        For a weight that is no finite 2-D float array, or a sparsity outside [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> pruning.magnitude(np.array([[3.0, -1.0], [0.5, -2.0]]), 0.5)
    array([[ True, False],
           [False,  True]])
    """
    array = selection.as_weight(weight)
    return selection.drop_smallest(
        np.abs(array), selection.count(selection.share(sparsity), array.size)
    )


def magnitude_global(weights: Sequence[ArrayLike], sparsity: float) -> list[Mask]:
    """Keep the weights of largest magnitude over several layers: one threshold for all.

    Parameters
    ----------
    weights : sequence of float arrays, each of shape (N, K) of its own
    sparsity : float
        Share of zeros over all layers together, in [0, 1).

    Returns
    -------
    list of bool arrays
        One mask for each weight; together exactly ``round(sparsity * total)`` entries are False.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> large, small = np.full((1, 2), 9.0), np.full((1, 2), 0.1)
    >>> pruning.magnitude_global([large, small], 0.5)
    [array([[ True,  True]]), array([[False, False]])]
    """
    return _drop_over_all([np.abs(array) for array in _weights(weights)], sparsity)


def nm(weight: ArrayLike, n: int, m: int) -> Mask:
    """Keep the `n` weights of largest magnitude among every `m` neighbours of a row.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    n, m : int
        ``1 <= n < m <= 16``; 2 and 4 give the 2:4 pattern.

    Returns
    -------
    bool array, shape (N, K)
        Groups start at columns 0, m, 2 m, ... Where `m` does not divide K, the last group is as
        if padded: of its ``K % m`` weights at most `n` stay.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> pruning.nm(np.array([[1.0, -4.0, 3.0, 2.0, 5.0]]), 2, 4)
    array([[False,  True,  True, False,  True]])
    """
    kept, size = selection.group_of(n, m)
    return selection.keep_groups(np.abs(selection.as_weight(weight)), kept, size)


def block(weight: ArrayLike, sparsity: float, rows: int, cols: int, norm: str = "l2") -> Mask:
    """Keep the blocks of `rows` by `cols` weights of largest norm.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    sparsity : float
        Share of blocks that go, in [0, 1).
    rows, cols : int
        Blocks start at multiples of these; those at the edges are as if padded with zeros.
    norm : "l2" or "l1"

    Returns
    -------
    bool array, shape (N, K)
        ``round(sparsity * blocks)`` blocks are False.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> pruning.block(np.array([[1.0, 1.0, 0.0, 9.0], [2.0, 2.0, 1.0, 1.0]]), 0.5, 1, 2)
    array([[False, False,  True,  True],
           [ True,  True, False, False]])
    """
    return block_global([weight], sparsity, rows, cols, norm)[0]


def block_global(
    weights: Sequence[ArrayLike], sparsity: float, rows: int, cols: int, norm: str = "l2"
) -> list[Mask]:
    """Keep the blocks of largest norm over several layers; see `block`.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> large, small = np.full((1, 4), 9.0), np.full((1, 4), 0.1)
    >>> [int(mask.sum()) for mask in pruning.block_global([large, small], 0.5, 1, 4)]
    [4, 0]
    """
    height, width = selection.block_of(rows, cols)
    power = 1 if _checks.choice(norm, "norm", NORMS) == "l1" else 2
    arrays = _weights(weights)
    # Sums of squares order blocks as their roots do; float64, so that none overflows.
    sums = [
        selection.block_sums(np.abs(array.astype(np.float64)) ** power, height, width)
        for array in arrays
    ]
    masks = _drop_over_all(sums, sparsity)
    return [
        selection.spread(mask, height, width, array.shape)
        for mask, array in zip(masks, arrays, strict=True)
    ]


def _weights(weights: Sequence[ArrayLike]) -> list[Array]:
    if isinstance(weights, np.ndarray) or not isinstance(weights, (list, tuple)):
        raise TypeError(f"weights: expected a list of arrays, got {_checks.describe(weights)}")
    return [selection.as_weight(weight, f"weights[{i}]") for i, weight in enumerate(weights)]


def _drop_over_all(scores: list[Array], sparsity: float) -> list[Mask]:
    """Drop the smallest of all arrays together; of equal ones those of the first arrays go."""
    wanted = selection.share(sparsity)
    if not scores:
        return []
    flat = np.concatenate([array.reshape(-1) for array in scores])
    keep = selection.drop_smallest(flat, selection.count(wanted, flat.size))
    ends = np.cumsum([array.size for array in scores])[:-1]
    parts = np.split(keep, ends)
    return [part.reshape(array.shape) for part, array in zip(parts, scores, strict=True)]
