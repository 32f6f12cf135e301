# SPDX-License-Identifier: Apache-2.0
"""Ranges that leave out a share of the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo import _checks
from octavo.algorithms.observers.histogram import Histogrammed


class Percentile(Histogrammed):
    """The range that holds a percentage of the values.

    The rest is clipped: half of it on each side, or, if symmetric, the largest magnitudes. An end
    of the range lies within a bin's width of the exact percentile (the smallest value that so many
    values do not exceed); see `Histogram`.

    Parameters
    ----------
    percentile : float
        In (0, 100]; 100 clips nothing.
    name : str
        What is observed, for error messages.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.observers import Percentile
    >>> observer = Percentile(99.0)
    >>> observer.update(np.arange(-100, 101, dtype=np.float32))
    >>> [round(end) for end in observer.range()]
    [-99, 99]
    """

    def __init__(self, percentile: float = 99.99, name: str = "x") -> None:
        super().__init__(name)
        self.percentile = _checks.real(percentile, "percentile", "(0, 100]")

    def _options(self) -> dict[str, Any]:
        return {"percentile": self.percentile}

    def _range(self) -> tuple[float, float]:
        if self.percentile == 100:
            return self.low, self.high
        left_out = (1 - self.percentile / 100) / 2
        counts, edges, width = self.histogram.filled()
        low = edges[_rank(counts, self.count, left_out)]
        high = edges[_rank(counts, self.count, 1 - left_out)] + width
        return max(low, self.low), min(high, self.high)

    def _limit(self) -> float:
        counts, edges, width = self.histogram.filled()
        magnitudes = np.abs(edges + width / 2)
        order = np.argsort(magnitudes, kind="stable")
        last = order[_rank(counts[order], self.count, self.percentile / 100)]
        return min(float(magnitudes[last]) + width / 2, max(-self.low, self.high))


def _rank(counts: np.ndarray[Any, Any], total: int, share: float) -> int:
    """Return the bin of the smallest value that a share of all values does not exceed."""
    wanted = min(max(1, int(np.ceil(share * total))), total)
    return int(np.searchsorted(np.cumsum(counts), wanted))
