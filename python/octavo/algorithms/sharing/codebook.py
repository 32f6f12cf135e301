# SPDX-License-Identifier: Apache-2.0
"""Weights as int8 codes out of a small codebook, with a scale per row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._types import Float32, Float64
from octavo.algorithms.pruning import selection
from octavo.algorithms.sharing.clusters import Histogram

Codes = NDArray[np.int8]

FEWEST, MOST = 4, 256
_LARGEST = 127
_ROUNDS = 3
_BLOCK_ELEMENTS = 1 << 18


class Shared(NamedTuple):
    """A weight whose entries are ``codes * scale[:, None]``.

    Attributes
    ----------
    codes : (N, K) int8 array
        Each of them in the codebook.
    scale : (N,) float32 array
    codebook : int8 array
        At most so many as there were to be clusters, in rising order, within [-127, 127].
    """

    codes: Codes
    scale: Float32
    codebook: Codes


def share(weight: ArrayLike, clusters: int) -> Shared:
    """Give the entries of a weight few values: those of a codebook, times their row's scale.

    Rows are normalised, their entries clustered together (`cluster`), and the centroids rounded to
    int8; the scale of each row is then refitted by least squares. That is repeated with the new
    scales, three times in all. An entry that is exactly zero stays zero, and zero is then one of
    the values.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
    clusters : int
        Values of the codebook, from 4 to 256; fewer where int8 cannot tell centroids apart.

    Returns
    -------
    Shared
        What `octavo.Linear.from_quantized` and `octavo.Embedding` take.

    Raises
    ------
    TypeError, ValueError
        For another dtype or shape, a weight that is not finite, or a number of clusters that is
        out of range.

    Notes
    -----
    Han, Mao, Dally: Deep Compression, arXiv 1510.00149, shares weights within a layer; the scale
    per row is what int8 layers have anyway.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import sharing
    >>> weight = np.array([[1.0, 1.1, 0.0, -2.0], [10.0, 9.0, -20.0, 0.0]], np.float32)
    >>> sharing.share(weight, 4).codes
    array([[  64,   64,    0, -127],
           [  64,   57, -127,    0]], dtype=int8)
    """
    array = selection.as_weight(weight, finite=False)
    wanted = _checks.integer(clusters, "clusters", FEWEST, MOST)
    scale, zeros = _row_sizes(array)
    codebook = np.zeros(1, np.int8)
    codes = np.zeros(array.shape, np.int8)
    if not scale.any():
        return Shared(codes, np.ones(len(array), np.float32), codebook)
    for _ in range(_ROUNDS):
        codebook, unit = _codebook(array, scale, wanted, zeros)
        scale = _refit(array, scale * unit, codebook, codes)
    rounded = np.where(scale > 0, scale, 1).astype(np.float32)
    np.maximum(rounded, np.finfo(np.float32).tiny, out=rounded)
    _refit(array, rounded.astype(np.float64), codebook, codes)
    return Shared(codes, rounded, np.unique(codes))


def nearest_codes(scaled: NDArray[Any], codebook: Codes) -> Codes:
    """Return the code that is nearest to each value; of two, the larger one.

    Parameters
    ----------
    scaled : float array
        A weight divided by its scale.
    codebook : int8 array
        In rising order.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import sharing
    >>> sharing.nearest_codes(np.array([-9.0, 1.4, 1.5, 3.0]), np.array([-4, 0, 3], np.int8))
    array([-4,  0,  3,  3], dtype=int8)
    """
    # Where a code ends is a multiple of one half: a table over halves is exact.
    halves = np.arange(-2 * _LARGEST, 2 * _LARGEST + 1)
    middles = codebook[1:].astype(np.int64) + codebook[:-1]
    table = codebook[np.searchsorted(middles, halves, side="right")]
    index = np.clip(np.floor(scaled * 2), -2 * _LARGEST, 2 * _LARGEST).astype(np.int16)
    return table[index + 2 * _LARGEST]


def _blocks(array: NDArray[Any]) -> Iterator[tuple[slice, Float64]]:
    """Yield some rows at a time as float64: what is needed besides the codes stays small."""
    step = max(1, _BLOCK_ELEMENTS // max(1, array.shape[1]))
    for start in range(0, len(array), step):
        rows = slice(start, min(start + step, len(array)))
        yield rows, array[rows].astype(np.float64)


def _row_sizes(array: NDArray[Any]) -> tuple[Float64, bool]:
    """Return the largest entry of each row, and whether there is a zero.

    Sizes by the root mean square lose up to 1 dB at 32 clusters and 12 dB at 256: what sticks out
    of one row would then set the step of int8 for all.
    """
    sizes = np.zeros(len(array))
    zeros = False
    for rows, block in _blocks(array):
        _checks.check_finite(block, "weight")
        sizes[rows] = np.abs(block).max(axis=1, initial=0)
        zeros = zeros or not block.all()
    return sizes, zeros


def _codebook(
    array: NDArray[Any], scale: Float64, clusters: int, zeros: bool
) -> tuple[Codes, float]:
    """Cluster the entries over their row's scale; return int8 codes and what one of them means."""
    divisor = np.where(scale > 0, scale, 1)[:, None]
    low, high = 0.0, 0.0
    for rows, block in _blocks(array):
        scaled = block / divisor[rows]
        low, high = min(low, float(scaled.min())), max(high, float(scaled.max()))
    found = Histogram(low, high)
    for rows, block in _blocks(array):
        # An error counts as it is in the weight, not as it is in the normalised row.
        weight = np.broadcast_to(divisor[rows] ** 2, block.shape)
        kept = block != 0
        found.add((block / divisor[rows])[kept], weight[kept])
    centroids = found.centroids(clusters, 0.0 if zeros else None)
    unit = float(np.abs(centroids).max()) / _LARGEST
    return np.unique(np.rint(centroids / unit)).astype(np.int8), unit


def _refit(array: NDArray[Any], scale: Float64, codebook: Codes, codes: Codes) -> Float64:
    """Write the codes for these scales; return the scales that are best for those codes."""
    best: Float64 = scale.copy()
    divisor = np.where(scale > 0, scale, 1)[:, None]
    for rows, block in _blocks(array):
        part = nearest_codes(block / divisor[rows], codebook)
        part[block == 0] = 0
        codes[rows] = part
        chosen = part.astype(np.float64)
        across, own = (block * chosen).sum(axis=1), (chosen**2).sum(axis=1)
        good = (across > 0) & (own > 0)
        best[rows][good] = across[good] / own[good]
    return best
