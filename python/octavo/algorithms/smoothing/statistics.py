# SPDX-License-Identifier: Apache-2.0
"""What smoothing wants to know about a layer's inputs, gathered batch by batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array

_CHUNK = 1 << 12


class InputRanges:
    """How large each input channel gets, and a sample of rows, in constant memory.

    Parameters
    ----------
    width : int
        K, the layer's number of inputs.
    samples : int
        Rows to keep, picked evenly at random from all rows seen.
    seed : int
        Of the sample.

    Attributes
    ----------
    rows : int
        Rows seen so far.
    largest : numpy.ndarray
        The largest magnitude of each channel, float32, (K,).

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import smoothing
    >>> ranges = smoothing.InputRanges(2)
    >>> ranges.update(np.array([[3.0, 0.0], [-4.0, 1.0]], np.float32))
    >>> ranges.largest
    array([4., 1.], dtype=float32)
    """

    def __init__(self, width: int, samples: int = 512, seed: int = 0) -> None:
        self.width = _checks.integer(width, "width", 1)
        self._wanted = _checks.integer(samples, "samples", 0)
        self._random = np.random.default_rng(_checks.integer(seed, "seed", 0))
        self.rows = 0
        self.largest = np.zeros(self.width, np.float32)
        self._squares = np.zeros(self.width)
        self._keys = np.zeros(0)
        self._kept = np.zeros((0, self.width), np.float32)

    def update(self, x: ArrayLike) -> None:
        """Take in rows.

        Parameters
        ----------
        x : float array, shape (..., K), finite
            Without the rows of padding, which would count like any other.
        """
        rows = rows_of(x, self.width)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            np.maximum(self.largest, np.abs(part).max(axis=0), out=self.largest)
            wide = part.astype(np.float64)
            self._squares += np.einsum("ij,ij->j", wide, wide)
            self._sample(part)
        self.rows += len(rows)

    def _sample(self, part: Array) -> None:
        """Keep the rows with the smallest random keys."""
        keys = np.concatenate([self._keys, self._random.random(len(part))])
        kept = np.sort(np.argsort(keys)[: self._wanted])
        self._keys = keys[kept]
        self._kept = np.concatenate([self._kept, part])[kept]

    def scale(self, multiplier: ArrayLike) -> None:
        """Turn what was seen into what would have been seen of ``x * multiplier``.

        Parameters
        ----------
        multiplier : float array, shape (K,), finite and at least 0
        """
        factors = floats(multiplier, (self.width,), "multiplier")
        if factors.min() < 0:
            raise ValueError(f"multiplier: expected values of at least 0, got {factors.min()}")
        self.largest *= factors
        self._squares *= np.square(factors, dtype=np.float64)
        self._kept *= factors

    def rms(self) -> Array:
        """Return the root mean square of each channel, float32 of shape (K,)."""
        self.require_rows()
        return np.sqrt(self._squares / self.rows).astype(np.float32)

    def sample(self) -> Array:
        """Return the kept rows, float32 of shape (at most `samples`, K)."""
        self.require_rows()
        return self._kept.copy()

    def require_rows(self) -> None:
        """Raise ValueError if no row was seen."""
        if self.rows == 0:
            raise ValueError("inputs: expected at least one row of calibration inputs, got none")


def rows_of(x: ArrayLike, width: int, name: str = "x") -> Array:
    """Return finite floats as (rows, width) float32."""
    array = _checks.as_float32(x, name, float64=True)
    if array.ndim == 0 or array.shape[-1] != width:
        raise ValueError(f"{name}: expected shape (..., {width}), got {array.shape}")
    _checks.check_finite(array, name)
    return array.reshape(-1, width)


def floats(values: ArrayLike, shape: tuple[int | None, ...], name: str) -> Array:
    """Return finite float32 of a shape."""
    array = _checks.as_float32(values, name, float64=True)
    _checks.check_shape(array, shape, name)
    _checks.check_finite(array, name)
    return array
