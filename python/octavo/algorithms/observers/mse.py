# SPDX-License-Identifier: Apache-2.0
"""Ranges that make the squared error of quantization small."""

from __future__ import annotations

import numpy as np

from octavo._types import Array
from octavo.algorithms.observers.base import parameters
from octavo.algorithms.observers.histogram import Histogrammed

_ENDS = 192
"""Candidates for each end of the range."""

_SHORTEST = 1e-3
"""The innermost of them, as a share of the whole range."""

_FINALISTS = 64
_BINS = 1 << 12


class MSE(Histogrammed):
    """The range with the smallest mean squared error of quantizing and dequantizing.

    Clipping costs the squares of what is cut off, rounding a twelfth of the squared step for every
    value inside. By these two terms, from running sums over the histogram, the best of 192 x 192
    ranges (192 if symmetric) are found; the best 64 and the whole range are then quantized, bin by
    bin. Both ends are chosen on their own, so one-sided data lose no codes.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.observers import MSE
    >>> observer = MSE()
    >>> observer.update(np.random.default_rng(0).standard_normal(1_000_000))
    >>> observer.update([30.0])
    >>> observer.range()[1] < 15
    True
    """

    def _range(self) -> tuple[float, float]:
        counts, values, width = self._bins()
        lows, highs = -_ends(-self.low, width), _ends(self.high, width)
        low, high = (grid.reshape(-1) for grid in np.meshgrid(lows, highs, indexing="ij"))
        best = np.argsort(_estimate(counts, values, low, high, 255), kind="stable")[:_FINALISTS]
        low, high = np.append(low[best], self.low), np.append(high[best], self.high)
        chosen = int(np.argmin(_measure(counts, values, low, high, symmetric=False)))
        return float(low[chosen]), float(high[chosen])

    def _limit(self) -> float:
        counts, values, width = self._bins()
        largest = max(-self.low, self.high)
        high = _ends(largest, width)
        best = np.argsort(_estimate(counts, values, -high, high, 254), kind="stable")[:_FINALISTS]
        high = np.append(high[best], largest)
        return float(high[np.argmin(_measure(counts, values, -high, high, symmetric=True))])

    def _bins(self) -> tuple[Array, Array, float]:
        """Return counts, the value that stands for each bin, and the width of a bin."""
        counts, edges, width = self.histogram.filled(_BINS)
        return counts, np.clip(edges + width / 2, self.low, self.high), width


def _ends(length: float, width: float) -> Array:
    """Return candidates for an end at most `length` from 0."""
    if length <= 0:
        return np.zeros(1)
    ends = np.geomspace(_SHORTEST, 1, _ENDS) * length
    # None shorter than a bin: what happens inside one is not known.
    return np.unique(np.maximum(ends, min(width, length)))


def _estimate(counts: Array, values: Array, low: Array, high: Array, steps: int) -> Array:
    """Return the estimated squared error of ranges, summed over all values."""
    sums = [np.concatenate(([0.0], np.cumsum(counts * values**power))) for power in range(3)]
    below = np.searchsorted(values, low)
    above = np.searchsorted(values, high, side="right")
    error: Array = np.square((high - low) / steps) / 12 * (sums[0][above] - sums[0][below])
    for end, parts in (
        (low, [total[below] for total in sums]),
        (high, [total[-1] - total[above] for total in sums]),
    ):
        error += parts[2] - 2 * end * parts[1] + np.square(end) * parts[0]
    return error


def _measure(counts: Array, values: Array, low: Array, high: Array, symmetric: bool) -> Array:
    """Return the squared error of ranges as the codes have it, summed over all values."""
    scale, point = (part[:, None] for part in parameters(low, high, symmetric))
    lowest = -127 if symmetric else -128
    codes = np.clip(np.rint(values / scale) + point, lowest, 127)
    return np.square((codes - point) * scale - values) @ counts.astype(np.float64)
