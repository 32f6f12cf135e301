# SPDX-License-Identifier: Apache-2.0
"""How the weight of a linear layer is held: every code, or the non-zero ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo._formats import DENSE, SPARSE_FORMATS, WINDOWS

Array = NDArray[Any]

_SLOTS, _PANEL = 4, 16


class DensePanels:
    """Codes as the native layer holds them: (panels, groups, 16, 4), padded with zeros."""

    format = DENSE

    def __init__(self, codes: Array) -> None:
        n, k = self.shape = codes.shape
        panels, groups = -(-n // 16), -(-k // 4)
        padded = np.zeros((panels * 16, groups * 4), np.int8)
        padded[:n, :k] = codes
        padded = padded.reshape(panels, 16, groups, 4)
        self.panels = np.ascontiguousarray(padded.transpose(0, 2, 1, 3))

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self.panels.nbytes

    def unpack(self) -> Array:
        """Return the codes, (N, K) int8, as a fresh array."""
        n, k = self.shape
        panels, groups, width, group = self.panels.shape
        rows = self.panels.transpose(0, 2, 1, 3).reshape(panels * width, groups * group)
        codes: Array = rows[:n, :k].copy()
        return codes


class NonZeros:
    """The non-zero codes and a bit for each position."""

    def __init__(self, codes: Array, format: str) -> None:
        if format not in SPARSE_FORMATS:
            raise ValueError(f"format: unknown name {format!r}")
        self.format = format
        self.shape = codes.shape
        self._bits = np.packbits(codes != 0)
        self._values = codes[codes != 0]

    @property
    def nbytes(self) -> int:
        """Bytes of bits and values."""
        return int(self._bits.nbytes + self._values.nbytes)

    def unpack(self) -> Array:
        """Return the codes, (N, K) int8, as a fresh array."""
        codes = np.zeros(self.shape, np.int8)
        mask = np.unpackbits(self._bits, count=codes.size).astype(bool).reshape(self.shape)
        codes[mask] = self._values
        return codes


def hold(codes: Array, format: str) -> DensePanels | NonZeros:
    """Return the codes in a format."""
    return DensePanels(codes) if format == DENSE else NonZeros(codes, format)


def slot_steps(codes: Array, format: str) -> int:
    """Count the steps that codes (N, K) take in a format with slots.

    A step serves 16 outputs.  Its window starts at the smallest input that any of them has left,
    and each output takes up to 4 of its non-zero codes within the window.
    """
    width = WINDOWS[format]
    n, k = codes.shape
    last_window = max(0, -(-k // 64) * 64 - width)
    steps = 0
    for first in range(0, n, _PANEL):
        left = [list(np.flatnonzero(row)) for row in codes[first : first + _PANEL]]
        while any(left):
            window = min(min(row[0] for row in left if row), last_window)
            for row in left:
                taken = sum(column < window + width for column in row[:_SLOTS])
                del row[:taken]
            steps += 1
    return steps
