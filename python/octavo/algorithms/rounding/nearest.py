# SPDX-License-Identifier: Apache-2.0
"""Rounding rows to nearest, and the codes that rounding may choose from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._ops.quantize import quantize_linear
from octavo._scales import normal_scale
from octavo._types import Float64


def nearest_rows(
    weight: NDArray[np.float32], bits: int = 8
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row symmetrically over its own range, as `octavo.quantize` does with 8 bits.

    Parameters
    ----------
    weight : float32 array, shape (N, K), finite
    bits : int
        2 to 8, as in `gptq`.

    Returns
    -------
    (codes, scale) : int8 array, shape (N, K), and float32 array, shape (N,)
        The scale of a row without range is 1.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.rounding import nearest_rows
    >>> nearest_rows(np.array([[3.5, -0.6], [0, 0]], np.float32), bits=4)
    (array([[ 7, -1],
           [ 0,  0]], dtype=int8), array([0.5, 1. ], dtype=float32))
    """
    largest = np.abs(weight).max(axis=1, initial=0)
    with np.errstate(under="ignore"):
        scale = normal_scale(largest / np.float32(2 ** (bits - 1) - 1), largest == 0)
    return quantize_linear(weight, scale, axis=0), scale


class Grid:
    """The codes that may be used: those of so many bits, or of a codebook.

    Rows leave out the lowest code, so that both signs have as many; groups, of few codes, do not.
    """

    def __init__(
        self, bits: int, codebook: ArrayLike | None = None, *, whole: bool = False
    ) -> None:
        self._values: Float64 | None = None
        self.largest = float(2 ** (bits - 1) - 1)
        self.lowest = -self.largest - whole
        if codebook is None:
            return
        array = _checks.as_array(codebook, "codebook")
        if array.dtype.kind not in "iu":
            raise TypeError(f"codebook: expected integers, got {array.dtype}")
        _checks.check_shape(array, (None,), "codebook")
        if not array.size or array.min() < -127 or array.max() > 127:
            raise ValueError(
                "codebook: expected values in [-127, 127], got "
                + (f"{array.min()} to {array.max()}" if array.size else "none")
            )
        self._values = np.unique(array).astype(np.float64)
        # Of zeros alone, as a weight of zeros has, any scale will do.
        self.largest = float(np.abs(self._values).max()) or 1.0

    def nearest(self, values: Float64) -> NDArray[np.int8]:
        """Return the nearest code of each value; of two, the even one (the lower in a codebook)."""
        if self._values is None:
            return np.clip(np.rint(values), self.lowest, self.largest).astype(np.int8)
        middles = (self._values[1:] + self._values[:-1]) / 2
        return self._values[np.searchsorted(middles, values)].astype(np.int8)
