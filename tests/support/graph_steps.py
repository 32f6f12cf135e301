# SPDX-License-Identifier: Apache-2.0
"""Programs of one step, and where the windows of outputs lie."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from octavo import _backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo._types import Array

Pair = tuple[int, int]


class Windows(NamedTuple):
    """What places windows: the arguments of steps by these names."""

    shape: tuple[int, int, int, int]
    size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Pair = (0, 0)

    def arguments(self, *without: str) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if name not in without}

    def out(self, channels: int, dtype: Any = np.int8) -> Array:
        return np.zeros((self.shape[0], *self.size, channels), dtype)

    def outputs(self) -> Iterator[tuple[Any, list[tuple[Pair, Any]]]]:
        """Yield an output (image, y, x), and its taps inside: (i, j) and (image, row, column)."""
        batch, h, w, _ = self.shape
        for image, y, x in itertools.product(range(batch), *map(range, self.size)):
            taps = []
            for i, j in itertools.product(*map(range, self.kernel)):
                row = y * self.stride[0] + i * self.dilation[0] - self.padding[0]
                column = x * self.stride[1] + j * self.dilation[1] - self.padding[1]
                if 0 <= row < h and 0 <= column < w:
                    taps.append(((i, j), (image, row, column)))
            yield (image, y, x), taps


def aligned(nbytes: int) -> Array:
    """Return bytes of an arena."""
    memory = np.zeros(nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + nbytes]


def run(step: str, out: Array, inputs: dict[str, Array], /, **arguments: Any) -> Array:
    """Run a program of one step, whose result is like `out`, on tensors side by side."""
    places, end = {}, 0
    for name, values in (*inputs.items(), ("out", out)):
        places[name] = end
        end += -(-values.nbytes // 64) * 64
    arena = aligned(end)
    for name, values in inputs.items():
        part = arena[places[name] : places[name] + values.nbytes]
        part[:] = np.ascontiguousarray(values).view(np.uint8).ravel()
    before = arena[: places["out"]].copy()
    program = _backend.backend.GraphProgram(end)
    getattr(program, f"add_{step}")(**places, **arguments)
    program.run(arena)
    assert np.array_equal(arena[: places["out"]], before), "an input has changed"
    result = arena[places["out"] : places["out"] + out.nbytes].view(out.dtype)
    return result.reshape(out.shape).copy()
