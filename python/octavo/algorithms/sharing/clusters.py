# SPDX-License-Identifier: Apache-2.0
"""k-means in one dimension, from a histogram: no random start, any number of values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._types import Float64

BINS = 1 << 16
_CELLS = 512
_ROUNDS = 200
_MOST = 256


def cluster(
    values: ArrayLike,
    clusters: int,
    *,
    weight: ArrayLike | None = None,
    fixed: float | None = None,
) -> Float64:
    """Return the centroids of values, in rising order.

    The values go into a fine histogram. The best clusters of its 512 cells, cells being small where
    centroids have to lie close, are found exactly by dynamic programming; Lloyd's rounds then move
    them to where they belong in the whole histogram. Nothing is random: the same values give the
    same centroids.

    Parameters
    ----------
    values : float array, finite
        Of any shape.
    clusters : int
        At most this many, from 2 to 256; fewer where there are fewer different values.
    weight : float array of the same shape, optional
        How much each value counts, at least 0.
    fixed : float, optional
        One centroid that lies where it is, and counts as one of them.

    Returns
    -------
    float64 array, shape (at most clusters,)

    Notes
    -----
    Of the range of the values, a bin takes 1 / 65536: what the histogram cannot tell apart costs
    less than a millionth of an error of one part in a hundred. Cells follow the cube root of the
    density, as the centroids of a fine quantizer do (Panter, Dite: Quantization Distortion in
    Pulse-Count Modulation with Nonuniform Spacing of Levels, 1951).

    Examples
    --------
    >>> from octavo.algorithms import sharing
    >>> sharing.cluster([0.0, 0.5, 4.0, 4.5, 9.0], 3)
    array([0.25, 4.25, 9.  ])
    """
    array = _floats(values, "values").reshape(-1)
    counts = None
    if weight is not None:
        counts = _floats(weight, "weight").reshape(-1)
        _checks.check_shape(counts, array.shape, "weight")
        if counts.size and counts.min() < 0:
            raise ValueError(f"weight: expected values of at least 0, got {counts.min()}")
    wanted = _checks.integer(clusters, "clusters", 2, _MOST)
    if not array.size:
        raise ValueError("values: expected at least one, got none")
    found = Histogram(float(array.min()), float(array.max()))
    found.add(array, counts)
    return found.centroids(wanted, None if fixed is None else _checks.real(fixed, "fixed"))


class Histogram:
    """Counts and sums of values within a known range, added block by block.

    Parameters
    ----------
    low, high : float
        No value lies outside.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low = low
        self._step = (high - low) / BINS or 1.0
        self._count = np.zeros(BINS)
        self._sum = np.zeros(BINS)

    def add(self, values: NDArray[Any], weight: NDArray[Any] | None = None) -> None:
        """Take in values (M,), each as often as its weight says."""
        bins = ((values - self._low) / self._step).astype(np.int64)
        np.clip(bins, 0, BINS - 1, out=bins)
        moved = values if weight is None else values * weight
        self._count += np.bincount(bins, weight, BINS)
        self._sum += np.bincount(bins, moved, BINS)

    def centroids(self, clusters: int, fixed: float | None) -> Float64:
        """Return the centroids in rising order; see `cluster`."""
        filled = np.flatnonzero(self._count > 0)
        count, total = self._count[filled], self._sum[filled]
        free = clusters - (fixed is not None)
        if len(filled) <= free:
            found = total / count
        else:
            cells = _cells(filled, count)
            start = _best_cells(count, total, cells, free)
            found = _settle(count, total, start, fixed)
        return np.unique(found if fixed is None else np.append(found, fixed))


def _floats(values: ArrayLike, name: str) -> Float64:
    array = _checks.as_array(values, name)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected floats, got {array.dtype}")
    _checks.check_finite(array, name)
    return array.astype(np.float64)


def _cells(filled: NDArray[np.int64], count: Float64) -> NDArray[np.int64]:
    """Return where cells of filled bins begin and end, (at most 513,)."""
    if len(filled) <= _CELLS:
        return np.arange(len(filled) + 1)
    # The density of a filled bin includes the empty ones before it.
    width = np.diff(filled, prepend=filled[0] - 1)
    mass = np.cumsum(np.cbrt(count / width) * width)
    wanted = np.linspace(0, mass[-1], _CELLS + 1)[1:-1]
    inner = np.searchsorted(mass, wanted) + 1
    return np.unique(np.concatenate(([0], inner, [len(filled)])))


def _best_cells(count: Float64, total: Float64, cells: NDArray[np.int64], clusters: int) -> Float64:
    """Return the centroids of the best partition into runs of cells.

    The squared error of a run is a constant minus (sum of its values)² / count: that is what the
    runs' sum is the largest of.
    """
    counts = np.concatenate(([0.0], np.cumsum(count)))[cells]
    sums = np.concatenate(([0.0], np.cumsum(total)))[cells]
    size = len(cells)
    clusters = min(clusters, size - 1)
    # gain[i, j]: of a run of cells i to j - 1; what is no run is never chosen.
    between = counts[None, :] - counts[:, None]
    gain = np.full((size, size), -np.inf)
    upper = np.triu_indices(size, 1)
    gain[upper] = (sums[None, :] - sums[:, None])[upper] ** 2 / between[upper]
    best = gain[0]
    back = np.zeros((clusters, size), np.int64)
    columns = np.arange(size)
    for step in range(1, clusters):
        sofar = best[:, None] + gain
        back[step] = np.argmax(sofar, axis=0)
        best = sofar[back[step], columns]
    ends = [size - 1]
    for step in range(clusters - 1, 0, -1):
        ends.append(int(back[step, ends[-1]]))
    edges = np.array([0, *reversed(ends)])
    return np.diff(sums[edges]) / np.diff(counts[edges])


def _settle(count: Float64, total: Float64, start: Float64, fixed: float | None) -> Float64:
    """Move centroids until they are the means of the bins that are nearest to them."""
    means = total / count
    counts = np.concatenate(([0.0], np.cumsum(count)))
    sums = np.concatenate(([0.0], np.cumsum(total)))
    found = np.sort(start)
    for _ in range(_ROUNDS):
        every = found if fixed is None else np.sort(np.append(found, fixed))
        cuts = np.searchsorted(means, (every[1:] + every[:-1]) / 2)
        edges = np.concatenate(([0], cuts, [len(count)]))
        inside, moved = np.diff(counts[edges]), np.diff(sums[edges])
        new = np.where(inside > 0, moved / np.where(inside > 0, inside, 1), every)
        if fixed is not None:
            new = np.delete(new, np.searchsorted(every, fixed))
        if np.array_equal(new, found):
            break
        found = new
    return found
