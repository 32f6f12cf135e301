# SPDX-License-Identifier: Apache-2.0
"""Steps of graphs in NumPy, which specify the native ones, against loops over single outputs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo._numpy import GraphProgram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo._types import Array

F = np.float32
GEOMETRIES = [
    # shape, size, kernel, stride, dilation, padding
    ((1, 1, 1, 3), (1, 1), (1, 1), (1, 1), (1, 1), (0, 0)),
    ((2, 5, 7, 6), (5, 7), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((1, 6, 5, 6), (3, 3), (3, 2), (2, 2), (1, 1), (0, 1)),
    ((1, 7, 7, 6), (7, 7), (3, 3), (1, 1), (2, 2), (2, 2)),
    ((2, 4, 9, 6), (2, 4), (2, 5), (2, 3), (1, 1), (0, 3)),
]
IDS = [str(i) for i in range(len(GEOMETRIES))]


class Arena:
    """Tensors one behind the other in an arena."""

    def __init__(self) -> None:
        self.size = 0
        self.values: list[tuple[int, Array]] = []

    def put(self, values: Array) -> int:
        at = self.size
        self.size += -(-values.nbytes // 64) * 64
        self.values.append((at, values))
        return at

    def run(self, program: GraphProgram, out: int) -> Array:
        memory = np.zeros(self.size + 64, np.uint8)
        memory = memory[-memory.ctypes.data % 64 :][: self.size]
        for at, values in self.values:
            memory[at : at + values.nbytes] = np.ascontiguousarray(values).view(np.uint8).ravel()
        program.run(memory)
        like = dict(self.values)[out]
        return memory[out : out + like.nbytes].view(like.dtype).reshape(like.shape)


def run(step: str, out: Array, /, *, inputs: dict[str, Array], **arguments: Any) -> Array:
    """Run a program of one step."""
    arena = Arena()
    places = {name: arena.put(values) for name, values in inputs.items()}
    at = arena.put(out)
    program = GraphProgram(arena.size)
    getattr(program, f"add_{step}")(**places, out=at, **arguments)
    return arena.run(program, at)


def outputs(geometry: Any) -> Iterator[tuple[tuple[int, ...], list[tuple[int, int, int, int]]]]:
    """Yield (image, y, x) and the taps (i, j, row, column) that lie inside."""
    (batch, h, w, _), size, kernel, stride, dilation, padding = geometry
    for image, y, x in itertools.product(range(batch), *map(range, size)):
        taps = []
        for i, j in itertools.product(*map(range, kernel)):
            row = y * stride[0] + i * dilation[0] - padding[0]
            column = x * stride[1] + j * dilation[1] - padding[1]
            if 0 <= row < h and 0 <= column < w:
                taps.append((i, j, row, column))
        yield (image, y, x), taps


def keywords(geometry: Any) -> dict[str, Any]:
    return dict(
        zip(("shape", "size", "kernel", "stride", "dilation", "padding"), geometry, strict=True)
    )


def requantized(total: int, multiplier: float, zero_point: int, low: int, high: int) -> int:
    t = F(F(total) * F(multiplier))
    return int(np.rint(min(max(t, F(low - zero_point)), F(high - zero_point)))) + zero_point
