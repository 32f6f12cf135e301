# SPDX-License-Identifier: Apache-2.0
"""The largest magnitude of each column."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array


class ColumnAbsMax:
    """The largest magnitude of each input channel, over all rows seen.

    Parameters
    ----------
    width : int
        K, the number of channels.
    name : str
        What is observed, for error messages.

    Attributes
    ----------
    rows : int
        Rows seen so far.
    values : numpy.ndarray
        float32, (K,); 0 before any row.

    Examples
    --------
    >>> from octavo.algorithms.observers import ColumnAbsMax
    >>> columns = ColumnAbsMax(2)
    >>> columns.update([[1.0, -2.0], [-3.0, 0.0]])
    >>> columns.values
    array([3., 2.], dtype=float32)
    """

    def __init__(self, width: int, name: str = "x") -> None:
        self.width = _checks.integer(width, "width", 1)
        self.name = name
        self.rows = 0
        self.values: Array = np.zeros(self.width, np.float32)

    def update(self, x: ArrayLike) -> None:
        """Take in rows, a finite float array of shape (..., K); errors as `Observer.update`."""
        array = _checks.as_float32(x, self.name, float64=True)
        if array.ndim == 0 or array.shape[-1] != self.width:
            raise ValueError(f"{self.name}: expected shape (..., {self.width}), got {array.shape}")
        rows = array.reshape(-1, self.width)
        if rows.size == 0:
            return
        largest = np.maximum(rows.max(axis=0), -rows.min(axis=0))
        _checks.check_finite(largest, self.name)
        np.maximum(self.values, largest, out=self.values)
        self.rows += len(rows)

    def merge(self, other: ColumnAbsMax) -> None:
        """Take in what another one of the same width has seen."""
        if not isinstance(other, ColumnAbsMax) or other.width != self.width:
            raise ValueError(f"other: expected a ColumnAbsMax({self.width}), got {other!r}")
        np.maximum(self.values, other.values, out=self.values)
        self.rows += other.rows

    def __repr__(self) -> str:
        return f"ColumnAbsMax({self.width})"
