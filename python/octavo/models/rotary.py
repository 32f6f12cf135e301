# SPDX-License-Identifier: Apache-2.0
"""Tables of rotary positions: angles that grow with the position, slower from pair to pair."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from octavo._elementary import power, sin_cos
from octavo._types import Float32

_LEAST_TOKENS = 64
_STEP_TOKENS = 1024


def rotary_table(tokens: int, width: int, theta: float) -> tuple[Float32, Float32]:
    """Return cosines and sines for heads of an even width, (tokens, width // 2), not writable.

    The angles are float32 products of positions and frequencies, as models are trained with: at
    position 5,000 those differ from exact ones by 3e-4.
    """
    return scaled_table(tokens, rotary_frequencies(width, theta))


def scaled_table(
    tokens: int, frequencies: tuple[float, ...], scale: float = 1.0
) -> tuple[Float32, Float32]:
    """Return cosines and sines times `scale` for these frequencies, not writable."""
    length = max(_LEAST_TOKENS, 1 << (tokens - 1).bit_length())
    cosine, sine = _table(length, frequencies, scale)
    return cosine[:tokens], sine[:tokens]


@lru_cache(maxsize=32)
def rotary_frequencies(width: int, theta: float) -> tuple[float, ...]:
    """Return the frequency of each pair of a head, which float32 holds."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    powers = power(theta, exponents.astype(np.float64)).astype(np.float32)
    return tuple((np.float32(1) / powers).tolist())


@lru_cache(maxsize=8)
def _table(tokens: int, frequencies: tuple[float, ...], scale: float) -> tuple[Float32, Float32]:
    factors = np.array(frequencies, np.float32)
    cosine, sine = (np.empty((tokens, factors.size), np.float32) for _ in range(2))
    for start in range(0, tokens, _STEP_TOKENS):
        # Not all at once: of 32,768 tokens the float64 values between would take 100 MB.
        rows = slice(start, min(tokens, start + _STEP_TOKENS))
        angles = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] * factors
        for part, values in zip((sine, cosine), sin_cos(angles.astype(np.float64)), strict=True):
            np.multiply(values.astype(np.float32), np.float32(scale), out=part[rows])
    for part in (sine, cosine):
        part.setflags(write=False)
    return cosine, sine
