# SPDX-License-Identifier: Apache-2.0
"""Observers: what static scale a stream of values should be quantized with.

Each takes in arrays of any shape, batch by batch, and holds the same memory however many they are.
"""

from __future__ import annotations

from octavo.algorithms.observers.base import Observer
from octavo.algorithms.observers.columns import ColumnAbsMax
from octavo.algorithms.observers.entropy import Entropy
from octavo.algorithms.observers.extremes import MinMax, MovingAverage
from octavo.algorithms.observers.histogram import Histogram
from octavo.algorithms.observers.mse import MSE
from octavo.algorithms.observers.percentile import Percentile

__all__ = [
    "MSE",
    "OBSERVERS",
    "ColumnAbsMax",
    "Entropy",
    "Histogram",
    "MinMax",
    "MovingAverage",
    "Observer",
    "Percentile",
]

OBSERVERS: dict[str, type[Observer]] = {
    "minmax": MinMax,
    "moving_average": MovingAverage,
    "percentile": Percentile,
    "mse": MSE,
    "entropy": Entropy,
}
"""By the names that recipes have for them."""
