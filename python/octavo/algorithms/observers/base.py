# SPDX-License-Identifier: Apache-2.0
"""What every observer has in common: checked values in, a scale and a zero point out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._scales import normal_scale, range_to_scale
from octavo._types import Array


class Observer(ABC):
    """Finds the range of values that int8 codes should stand for.

    Parameters
    ----------
    name : str
        What is observed, for error messages.

    Attributes
    ----------
    count : int
        Values seen so far.
    low, high : float
        The lowest and the highest of them, and of 0.
    """

    def __init__(self, name: str = "x") -> None:
        self.name = name
        self.count = 0
        self.low = self.high = 0.0

    def update(self, x: ArrayLike) -> None:
        """Take in values.

        Parameters
        ----------
        x : float array of any shape, finite
            An empty one changes nothing. float64 is rounded to float32.

        Raises
        ------
        TypeError, ValueError
            If it does not hold floats, or holds NaN or infinity; nothing is taken in then.
        """
        values = _checks.as_float32(x, self.name, float64=True).reshape(-1)
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{self.name}: expected finite values, got NaN or infinity")
        self._take(values)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += values.size

    def merge(self, other: Observer) -> None:
        """Take in what another observer of the same kind and options has seen.

        Parameters
        ----------
        other : Observer
            Left as it is.
        """
        if type(other) is not type(self) or other._options() != self._options():
            raise ValueError(f"other: expected {self!r} of other values, got {other!r}")
        if other.count:
            self._merge(other)
            self.low, self.high = min(self.low, other.low), max(self.high, other.high)
            self.count += other.count

    def range(self, symmetric: bool = False) -> tuple[float, float]:
        """Return the lowest and highest value worth a code; 0 lies between them.

        Parameters
        ----------
        symmetric : bool
            Whether the codes will be symmetric; the range is then too.

        Raises
        ------
        ValueError
            If no value was seen.
        """
        if self.count == 0:
            raise ValueError(f"{self.name}: expected values before a range is asked for, got none")
        if _checks.boolean(symmetric, "symmetric"):
            limit = float(self._limit())
            return -limit, limit
        low, high = self._range()
        return min(float(low), 0.0) + 0.0, max(float(high), 0.0)

    def scale_zero_point(self, symmetric: bool = False) -> tuple[float, int]:
        """Return the parameters of int8 codes for what was seen.

        Parameters
        ----------
        symmetric : bool
            True: codes -127 to 127 around zero point 0. False: codes -128 to 127.

        Returns
        -------
        (scale, zero_point) : float, exact in float32, and int
            1 and the code of zero if every value was 0.

        Raises
        ------
        ValueError
            If no value was seen.
        """
        low, high = self.range(symmetric)
        scale, point = parameters(np.array([low]), np.array([high]), symmetric)
        return float(scale[0]), int(point[0])

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self._options().items())
        return f"{type(self).__name__}({options})"

    def _options(self) -> dict[str, Any]:
        """Return what observers have to share to be merged."""
        return {}

    @abstractmethod
    def _take(self, values: Array) -> None:
        """Take in finite values, float32 (size,)."""

    @abstractmethod
    def _merge(self, other: Any) -> None: ...

    @abstractmethod
    def _range(self) -> tuple[float, float]: ...

    def _limit(self) -> float:
        """Return the magnitude that a symmetric range ends at."""
        low, high = self._range()
        return max(-low, high, 0.0)


def parameters(low: Array, high: Array, symmetric: bool) -> tuple[Array, Array]:
    """Return scales (float32) and zero points (int64) of ranges that hold 0; see docs/numerics."""
    with np.errstate(over="ignore", under="ignore"):
        low, high = low.astype(np.float32), high.astype(np.float32)
        if symmetric:
            largest = np.maximum(-low, high)
            scale = normal_scale(largest / np.float32(127), largest == 0)
            return scale, np.zeros(scale.shape, np.int64)
        scale = range_to_scale(low, high, 255)
        point = np.clip(np.rint(np.float32(-128) - low / scale), -128, 127)
    return scale, point.astype(np.int64)
