# SPDX-License-Identifier: Apache-2.0
"""Ranges from the lowest and highest values alone."""

from __future__ import annotations

from typing import Any

from octavo import _checks
from octavo._types import Array
from octavo.algorithms.observers.base import Observer


class MinMax(Observer):
    """The whole range: nothing is clipped, and one outlier makes every step larger.

    Examples
    --------
    >>> from octavo.algorithms.observers import MinMax
    >>> observer = MinMax()
    >>> observer.update([-1.0, 0.5])
    >>> observer.update([[1.0], [1.55]])
    >>> observer.range()
    (-1.0, 1.5499999523162842)
    >>> observer.scale_zero_point(symmetric=True)
    (0.012204724363982677, 0)
    """

    def _take(self, values: Array) -> None:
        pass

    def _merge(self, other: MinMax) -> None:
        pass

    def _range(self) -> tuple[float, float]:
        return self.low, self.high


class MovingAverage(Observer):
    """Exponential moving averages of each batch's lowest and highest value.

    As in quantization-aware training (Jacob et al. 2018, "Quantization and Training of Neural
    Networks for Efficient Integer-Arithmetic-Only Inference"): a rare outlier moves the range by
    its batch's share. What comes out depends on how values are cut into batches, and on their
    order. Two merged observers give the mean of theirs, weighted by their batches.

    Parameters
    ----------
    momentum : float
        Share of the old average that stays, in [0, 1).
    name : str
        What is observed, for error messages.

    Examples
    --------
    >>> from octavo.algorithms.observers import MovingAverage
    >>> observer = MovingAverage(momentum=0.5)
    >>> observer.update([0.0, 1.0])
    >>> observer.update([0.0, 2.0])
    >>> observer.range()
    (0.0, 1.5)
    """

    def __init__(self, momentum: float = 0.9, name: str = "x") -> None:
        super().__init__(name)
        self.momentum = _checks.real(momentum, "momentum", "[0, 1)")
        self._batches = 0
        self._mean_low = self._mean_high = 0.0

    def _options(self) -> dict[str, Any]:
        return {"momentum": self.momentum}

    def _take(self, values: Array) -> None:
        low, high = float(values.min()), float(values.max())
        self._mix(low, high, self.momentum if self._batches else 0.0)
        self._batches += 1

    def _merge(self, other: MovingAverage) -> None:
        total = self._batches + other._batches
        self._mix(other._mean_low, other._mean_high, self._batches / total)
        self._batches = total

    def _mix(self, low: float, high: float, kept: float) -> None:
        self._mean_low = kept * self._mean_low + (1 - kept) * low
        self._mean_high = kept * self._mean_high + (1 - kept) * high

    def _range(self) -> tuple[float, float]:
        return self._mean_low, self._mean_high
