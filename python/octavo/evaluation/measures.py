# SPDX-License-Identifier: Apache-2.0
"""How near two sets of vectors are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["cosines", "sqnr_db"]

Float32 = npt.NDArray[np.float32]


def cosines(first: Float32, second: Float32) -> npt.NDArray[np.float64]:
    """Cosine of each pair of rows, computed in float64."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: npt.NDArray[np.float64] = (a * b).sum(axis=1) / np.maximum(lengths, 1e-300)
    return result


def sqnr_db(exact: Float32, approximate: Float32) -> float:
    """Signal-to-noise ratio in dB: infinite where both are equal.

    Parameters
    ----------
    exact, approximate : float32 arrays of one shape
    """
    signal = exact.astype(np.float64)
    noise = float(np.square(signal - approximate).sum())
    power = float(np.square(signal).sum())
    if noise == 0.0:
        return float("inf")
    return 10 * float(np.log10(power / noise)) if power else float("-inf")
