# SPDX-License-Identifier: Apache-2.0
"""How the weight of a linear layer is held: every code, or the non-zero ones."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from octavo._types import Array

_WINDOWS = {"windowed16": 16, "windowed64": 64}
"""Inputs that one step of a windowed format can reach."""

_BLOCKS = {"bsr16x4": (16, 4), "bsr1x4": (1, 4), "bsr4x1": (4, 1), "bsr1x1": (1, 1)}
"""Outputs and inputs of a block of block-sparse rows."""

_FORMATS = ("dense", *_WINDOWS, "bitmap", *_BLOCKS)

_SLOTS, _PANEL = 4, 16


def weight_formats() -> list[str]:
    """Return the names of all formats, dense first."""
    return list(_FORMATS)


class PackedWeight(ABC):
    """Codes in a format, which layers may have in common."""

    format: str
    shape: tuple[int, int]

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of the codes."""

    @abstractmethod
    def unpack(self) -> Array:
        """Return the codes, (N, K) int8, as a fresh array."""


class DensePanels(PackedWeight):
    """Codes as the native layer holds them: (panels, groups, 16, 4), padded with zeros."""

    format = _FORMATS[0]

    def __init__(self, codes: Array) -> None:
        n, k = codes.shape
        self.shape = n, k
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
        return rows[:n, :k].copy()


class NonZeros(PackedWeight):
    """The non-zero codes and a bit for each position."""

    def __init__(self, codes: Array, format: str) -> None:
        if format not in _FORMATS[1:]:
            raise ValueError(f"format: unknown name {format!r}")
        self.format = format
        self.shape = codes.shape[0], codes.shape[1]
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


def hold(codes: Array, format: str) -> PackedWeight:
    """Return the codes in a format."""
    return DensePanels(codes) if format == _FORMATS[0] else NonZeros(codes, format)


def format_cost(codes: Array, format: str) -> tuple[int, int]:
    """Count the units of work, at least 1, and the bytes of codes (N, K) in a native format."""
    if format not in _FORMATS:
        raise ValueError(f"format: unknown name {format!r}")
    n, k = codes.shape
    panels, groups = -(-n // _PANEL), -(-k // 4)
    if format in _BLOCKS:
        units, size = _block_cost(codes, *_BLOCKS[format])
    elif format in _WINDOWS:
        width = _WINDOWS[format]
        units = _steps(codes, width)
        index = 32 if width == 16 else 64
        size = units * (64 + index) + -(-2 * units // 4) * 4 + 4 * (panels + 1 + _PANEL * panels)
    else:
        units, size = panels * groups, 64 * panels * groups
    if format == "bitmap":
        firsts = panels * (-(-groups // 64) + 1)
        size = 8 * units + int(np.count_nonzero(codes)) + 4 * firsts + 64
    return max(1, units), size


def _block_cost(codes: Array, height: int, width: int) -> tuple[int, int]:
    """Count the blocks, of which a unit has as many as make 4 inputs."""
    n, k = codes.shape
    columns = -(-n // _PANEL) * _PANEL
    part = {(4, 1): 4096, (1, 1): 768}.get((height, width), max(k, 1))
    shape = (-(-n // height), height, -(-k // width), width)
    padded = np.zeros((shape[0] * height, shape[2] * width), np.bool_)
    padded[:n, :k] = codes != 0
    there: Array = np.any(padded.reshape(shape), axis=(1, 3))
    starts = range(0, max(k, 1), part)
    units = 0
    for start in starts:
        blocks = there[:, start // width : -(-(start + part) // width)].sum(axis=1)
        units += int((-(-blocks // (4 // width))).sum())
    lists = columns // height * len(starts)
    paired = lists if height * width == 4 else 0
    size = units * (4 * height + 2 * (4 // width)) + 4 * (lists + 1 + paired + columns)
    return -(-units * 4 * height // 64), size


def _steps(codes: Array, width: int) -> int:
    """Count the steps that codes take in windows of `width` inputs.

    A step serves 16 outputs.  Its window starts at the smallest input that any of them has left,
    and each output takes up to 4 of its non-zero codes within the window.
    """
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
