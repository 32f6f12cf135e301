# SPDX-License-Identifier: Apache-2.0
"""Wanda: weights by their magnitude times the norm of what they are multiplied with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array
from octavo.algorithms.pruning import selection
from octavo.algorithms.pruning.arguments import Pair, structure
from octavo.algorithms.pruning.selection import Mask
from octavo.algorithms.pruning.statistics import InputHessian, InputNorms


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
        ``round(sparsity * K)`` entries of each row are False; of equal scores the first go. Where
        inputs are all zero, magnitudes decide alone.

    Notes
    -----
    Sun, Liu, Bair, Kolter: A Simple and Effective Pruning Approach for Large Language Models,
    arXiv 2306.11695.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> pruning.wanda(np.array([[3.0, 1.0], [1.0, 1.0]]), np.array([1.0, 5.0]), 0.5)
    array([[False,  True],
           [False,  True]])
    """
    array = selection.as_weight(weight)
    norms = _norms(inputs, array.shape[1])
    scores = np.abs(array.astype(np.float64)) * (norms if norms.any() else 1.0)
    wanted = structure(sparsity, pattern, block)
    if pattern is not None:
        return selection.keep_groups(scores, *selection.group_of(*pattern))
    if block is None:
        return selection.drop_smallest_of_rows(scores, selection.count(wanted, scores.shape[1]))
    sums = selection.block_sums(scores**2, *selection.block_of(*block))
    keep = selection.drop_smallest_of_rows(sums, selection.count(wanted, sums.shape[1]))
    return selection.spread(keep, *block, array.shape)


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
