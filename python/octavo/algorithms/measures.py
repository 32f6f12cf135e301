# SPDX-License-Identifier: Apache-2.0
"""How near two sets of vectors are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from octavo._types import Float32

__all__ = ["cosines", "decibels", "sqnr_db"]


def cosines(first: Float32, second: Float32) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair of rows, computed in float64.

    A row of zeros has no direction: its cosine is 1 with another row of zeros, which it equals, and
    0 with every other row.

    Parameters
    ----------
    first, second : float arrays, shape (rows, size)
        NaN or infinity in a row gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.measures import cosines
    >>> cosines(np.array([[1, 0], [0, 0], [0, 0]]), np.array([[2, 0], [0, 0], [0, 3]]))
    array([1., 1., 0.])
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = lengths[0] * lengths[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: npt.NDArray[np.float64] = np.einsum("ij,ij->i", a, b) / product
    zero = product == 0
    found[zero] = (lengths[0] == lengths[1])[zero]
    return found


def sqnr_db(exact: Float32, approximate: Float32) -> float:
    """Return the signal-to-quantization-noise ratio in decibels: infinite where both are equal.

    Parameters
    ----------
    exact, approximate : float arrays of one shape
        NaN or infinity in `approximate` gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms.measures import sqnr_db
    >>> round(sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 3.5])), 6)
    20.0
    """
    signal = exact.astype(np.float64)
    noise = float(np.square(signal - approximate).sum())
    power = float(np.square(signal).sum())
    return decibels(power, noise)


def decibels(signal: float, noise: float) -> float:
    """Return the ratio of two powers in decibels: infinite without noise.

    Examples
    --------
    >>> from octavo.algorithms.measures import decibels
    >>> decibels(100.0, 1.0), decibels(1.0, 0.0), decibels(0.0, 1.0)
    (20.0, inf, -inf)
    """
    if noise == 0.0:
        return math.inf
    if signal == 0.0:
        return -math.inf
    return 10 * math.log10(signal / noise) if math.isfinite(noise) else math.nan
