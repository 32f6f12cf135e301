# SPDX-License-Identifier: Apache-2.0
"""Rotary positions: pairs of a head's values are turned by angles that grow with the position."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from octavo._elementary import power, sin_cos
from octavo._float_mode import in_default_mode
from octavo._types import Float32

_LEAST_TOKENS = 64
_TOKENS = 64


def rotary_table(tokens: int, width: int, theta: float) -> tuple[Float32, Float32]:
    """Return cosines and sines for heads of an even width, (tokens, width // 2), not writable.

    The angles are float32 products of positions and frequencies, as models are trained with: at
    position 5,000 those differ from exact ones by 3e-4.
    """
    length = max(_LEAST_TOKENS, 1 << (tokens - 1).bit_length())
    cosine, sine = _table(length, width, theta)
    return cosine[:tokens], sine[:tokens]


@lru_cache(maxsize=8)
def _table(tokens: int, width: int, theta: float) -> tuple[Float32, Float32]:
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    powers = power(theta, exponents.astype(np.float64)).astype(np.float32)
    frequencies = np.float32(1) / powers
    angles = np.arange(tokens, dtype=np.float32)[:, None] * frequencies
    sine, cosine = (part.astype(np.float32) for part in sin_cos(angles.astype(np.float64)))
    for part in (sine, cosine):
        part.setflags(write=False)
    return cosine, sine


@in_default_mode
def rotate(x: Any, table: tuple[Float32, Float32], out: Any) -> None:
    """Turn heads that lie side by side, (batch, tokens, heads * width), into `out`.

    Value i of a head's first half and value i of its second are one pair.
    """
    width = 2 * table[0].shape[-1]
    for row, turned in zip(x, out, strict=True):
        # Some tokens at a time, so that what comes between stays in the cache.
        for start in range(0, len(row), _TOKENS):
            some = slice(start, start + _TOKENS)
            cosine, sine = (part[some, None] for part in table)
            shape = (len(cosine), -1, 2, width // 2)
            first, second = np.moveaxis(row[some].reshape(shape), 2, 0)
            to_first, to_second = np.moveaxis(turned[some].reshape(shape), 2, 0)
            np.multiply(first, cosine, out=to_first)
            to_first -= second * sine
            np.multiply(second, cosine, out=to_second)
            to_second += first * sine
