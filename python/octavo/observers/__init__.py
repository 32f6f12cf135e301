# SPDX-License-Identifier: Apache-2.0
"""Observers: what static scale a stream of values should be quantized with.

Each takes in arrays of any shape, batch by batch, and holds the same memory however many they are.
"""

from __future__ import annotations

from octavo.observers.base import Observer
from octavo.observers.columns import ColumnAbsMax
from octavo.observers.entropy import Entropy
from octavo.observers.extremes import MinMax, MovingAverage
from octavo.observers.histogram import Histogram
from octavo.observers.mse import MSE
from octavo.observers.percentile import Percentile

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
