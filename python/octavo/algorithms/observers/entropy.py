# SPDX-License-Identifier: Apache-2.0
"""Ranges that keep the distribution of values, by Kullback-Leibler divergence."""

from __future__ import annotations

import numpy as np

from octavo._types import Array
from octavo.algorithms.observers.histogram import Histogrammed

_BINS = 1 << 11
"""Bins of the magnitudes that are compared."""

_SMALLEST = 128
_LEVELS = 128
_LEVELS_ASYMMETRIC = 256


class Entropy(Histogrammed):
    """The threshold whose codes say most about how values are distributed.

    As TensorRT does (Migacz 2017, "8-bit Inference with TensorRT"): for each threshold, what lies
    beyond it is added to the last bin inside; the bins inside are quantized to as many levels as
    there are codes, each spread evenly over its bins that are not empty; the threshold with the
    smallest divergence of the second distribution from the first is taken. There it is a threshold
    of magnitudes, with 128 levels; so it is here if symmetric. If not, the threshold cuts both
    sides, neither farther than values go, and there are 256 levels. The bin of 0 counts as many as
    the next at most: what ReLU makes 0 would decide alone.

    It wants many values: with few, empty bins decide.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.observers import Entropy
    >>> observer = Entropy()
    >>> observer.update(np.random.default_rng(0).standard_normal(100_000))
    >>> observer.update([30.0])
    >>> observer.range()[1] < 10
    True
    """

    def _range(self) -> tuple[float, float]:
        counts, zero, width = self._bins()
        limit = _threshold(counts, zero, _LEVELS_ASYMMETRIC) * width
        return max(self.low, -limit), min(self.high, limit)

    def _limit(self) -> float:
        counts, zero, width = self._bins()
        magnitudes = np.zeros(max(zero, counts.size - zero), np.int64)
        magnitudes[: counts.size - zero] += counts[zero:]
        magnitudes[:zero] += counts[:zero][::-1]
        return min(_threshold(magnitudes, 0, _LEVELS) * width, max(-self.low, self.high))

    def _bins(self) -> tuple[Array, int, float]:
        """Return counts without empty ends, where the bin from 0 on is, and the width."""
        counts, edges, width = self.histogram.filled(_BINS)
        first = round(edges[0] / width)
        zero, end = max(-first, 0), max(first + counts.size, 0)
        padded = np.zeros(zero + end, np.int64)
        padded[zero + first : zero + first + counts.size] = counts
        # Zeros, of which ReLU makes many, are exact whatever the threshold is.
        padded[zero : zero + 1] = padded[zero : zero + 2].min(initial=counts.max(initial=0))
        return padded, zero, width


def _threshold(counts: Array, zero: int, levels: int) -> int:
    """Return how many bins on each side of `zero` are the best window."""
    longest = max(zero, counts.size - zero)
    thresholds = np.arange(min(_SMALLEST, longest), longest + 1)
    starts = np.maximum(zero - thresholds, 0)
    ends = np.minimum(zero + thresholds, counts.size)
    return int(thresholds[np.argmin(divergences(counts, starts, ends, levels))])


def divergences(counts: Array, starts: Array, ends: Array, levels: int) -> Array:
    """Return the divergence for each window of bins [start, end), all windows at once.

    With P the window's counts, those outside added to its end bins, and Q the same without them,
    averaged over the bins of each level that are not empty, KL(P || Q) needs no more than sums over
    levels: sum P log P - sum over levels of (their P) log(their Q). It is infinite where a level
    has nothing but what was clipped.
    """
    counts = counts.astype(np.float64)
    total = counts.sum()
    mass = np.concatenate(([0.0], np.cumsum(counts)))
    filled = np.concatenate(([0.0], np.cumsum(counts > 0)))
    entropy = np.concatenate(([0.0], np.cumsum(_x_log_x(counts))))
    share = np.arange(levels + 1) / levels
    bounds = starts[:, None] + np.rint((ends - starts)[:, None] * share).astype(np.intp)
    level_mass = np.diff(mass[bounds], axis=1)
    level_bins = np.diff(filled[bounds], axis=1)
    clipped = level_mass.copy()
    below, above = mass[starts], total - mass[ends]
    p_log_p = entropy[ends] - entropy[starts]
    rows = np.arange(len(starts))
    level_of_last = (bounds < ends[:, None]).sum(axis=1) - 1
    level_of_first = (bounds <= starts[:, None]).sum(axis=1) - 1
    for edge, level, outside in ((starts, level_of_first, below), (ends - 1, level_of_last, above)):
        inside = counts[edge]
        p_log_p += _x_log_x(inside + outside) - _x_log_x(inside)
        clipped[rows, level] += outside
        level_bins[rows, level] += (inside == 0) & (outside > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_q = np.log(level_mass / level_bins)
        cross = np.where(clipped > 0, clipped * log_q, 0.0).sum(axis=1)
        inside_mass = mass[ends] - mass[starts]
        divergence: Array = (p_log_p - cross) / total - np.log(total) + np.log(inside_mass)
    divergence[np.isnan(divergence)] = np.inf
    return divergence


def _x_log_x(x: Array) -> Array:
    return x * np.log(np.where(x > 0, x, 1.0))
