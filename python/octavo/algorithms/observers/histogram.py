# SPDX-License-Identifier: Apache-2.0
"""A histogram of values whose range is not known beforehand, in constant memory."""

from __future__ import annotations

import math

import numpy as np

from octavo._types import Array
from octavo.algorithms.observers.base import Observer

BINS = 1 << 13
"""Bins on each side of 0."""

_CHUNK = 1 << 18
"""Values whose bins are found at a time."""

_SMALLEST = -126
"""Exponent of the narrowest bins, whose reciprocal is finite in float32."""


class Histogram:
    """Counts in bins of equal width, a power of two, as many below 0 as above.

    Bin i holds [i * width, (i + 1) * width), exactly. A value out of range doubles the width, and
    neighbours are merged, until it fits. As bins begin at multiples of their width, the counts are
    those of a histogram that had its final width from the start: neither the order of values nor
    merging loses anything more.

    Every value is known to within `width`, at most 2 / 8192 of the largest magnitude seen (or
    2**-126, if that is larger).

    Attributes
    ----------
    counts : numpy.ndarray
        int64, (16384,); bin 0 stands at 8192.
    low, high : float
        The exact extremes, 0 included.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.observers import Histogram
    >>> histogram = Histogram()
    >>> histogram.update(np.array([0.25, 0.25, -1.0], np.float32))
    >>> histogram.width
    0.000244140625
    >>> histogram.update(np.array([3.0], np.float32))
    >>> histogram.width
    0.00048828125
    >>> [int(count) for count in histogram.counts[histogram.counts > 0]]
    [1, 2, 1]
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * BINS, np.int64)
        self.low = self.high = 0.0
        self._exponent = _SMALLEST

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1.0, self._exponent)

    def update(self, values: Array) -> None:
        """Count finite float32 values of any shape."""
        flat = values.reshape(-1)
        if flat.size == 0:
            return
        self._reach(float(flat.min()), float(flat.max()))
        factor = np.float32(math.ldexp(1.0, -self._exponent))
        for start in range(0, flat.size, _CHUNK):
            # Scaling by a power of two rounds nothing.
            index = np.multiply(flat[start : start + _CHUNK], factor)
            np.floor(index, out=index)
            bins = index.astype(np.intp)
            bins += BINS
            self.counts += np.bincount(bins, minlength=2 * BINS)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram, which stays as it is."""
        self._reach(other.low, other.high)
        self._widen(other._exponent)
        self.counts += _merged(other.counts, self._exponent - other._exponent)

    def filled(self, most: int = 2 * BINS) -> tuple[Array, Array, float]:
        """Return the part from the first to the last bin that is not empty.

        Parameters
        ----------
        most : int
            Bins to return; so that there are no more, neighbours are merged.

        Returns
        -------
        (counts, edges, width) : int64 (n,), float64 (n,) and float
            `edges` are the lower ends of the bins, multiples of the width.
        """
        doublings = 0
        while True:
            counts = _merged(self.counts, doublings)
            used = np.flatnonzero(counts)
            first, last = (int(used[0]), int(used[-1])) if used.size else (BINS, BINS)
            if last - first < most:
                break
            doublings += 1
        width = math.ldexp(self.width, doublings)
        return counts[first : last + 1], np.arange(first - BINS, last + 1 - BINS) * width, width

    def _reach(self, low: float, high: float) -> None:
        """Widen the bins until they hold a range."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if largest > 0:
            self._widen(math.frexp(largest)[1] - (BINS.bit_length() - 1))

    def _widen(self, exponent: int) -> None:
        if exponent > self._exponent:
            self.counts = _merged(self.counts, exponent - self._exponent)
            self._exponent = exponent


def _merged(counts: Array, doublings: int) -> Array:
    """Return the counts of bins that are 2**doublings times as wide."""
    if doublings == 0:
        return counts
    each = 1 << min(doublings, BINS.bit_length() - 1)
    groups = counts.reshape(-1, each).sum(axis=1)
    wide = np.zeros_like(counts)
    wide[BINS - BINS // each : BINS + BINS // each] = groups
    return wide


class Histogrammed(Observer):
    """An observer that decides by a histogram.

    Attributes
    ----------
    histogram : Histogram
        Of the values seen.
    """

    def __init__(self, name: str = "x") -> None:
        super().__init__(name)
        self.histogram = Histogram()

    def _take(self, values: Array) -> None:
        self.histogram.update(values)

    def _merge(self, other: Histogrammed) -> None:
        self.histogram.merge(other.histogram)
