# SPDX-License-Identifier: Apache-2.0
"""Steps over one arena of bytes, of which `graph_program` says what they compute."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._numpy.images import Window
from octavo._types import Array

Pair = tuple[int, int]

F32, S8 = np.dtype(np.float32), np.dtype(np.int8)
_ALIGNMENT = 64
_MOST = 2**31 - 1


def expect(fits: bool, name: str, expected: str) -> None:
    """Refuse an argument that does not fit."""
    if not fits:
        raise ValueError(f"{name}: expected {expected}")


def constant(values: Array, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    """Return a copy of values that a step keeps."""
    fits = values.dtype == dtype and values.shape == shape and values.flags.c_contiguous
    expect(fits, name, f"C-contiguous {dtype} of shape {shape}")
    return values.copy()


def extents(values: Sequence[int], count: int, name: str, least: int = 1) -> tuple[int, ...]:
    """Return so many numbers from `least` up."""
    numbers = tuple(operator.index(value) for value in values)
    fits = len(numbers) == count and all(least <= number <= _MOST for number in numbers)
    expect(fits, name, f"{count} numbers of at least {least}")
    return numbers


class Geometry(NamedTuple):
    """Where a step reads images, how its windows move, and where it writes."""

    x: int
    out: int
    shape: tuple[int, int, int, int]
    """(batch, height, width, channels) of the input."""
    size: Pair
    """Height and width of the output."""
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Pair = (0, 0)
    """How much of the first window lies above and to the left of the input.  Windows go on below
    and to the right of it as far as `size` says."""

    def window(self, kernel: Sequence[int]) -> Window:
        """Return where each output reads."""
        values = (self.size, kernel, self.stride, self.dilation, self.padding)
        names = Window._fields
        pairs = (
            extents(value, 2, name, least=0 if name == "padding" else 1)
            for name, value in zip(names, values, strict=True)
        )
        return Window(*((first, second) for first, second in pairs))


class Tensor(NamedTuple):
    """A tensor of the arena."""

    at: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def end(self) -> int:
        return self.at + math.prod(self.shape) * self.dtype.itemsize

    def of(self, arena: Array) -> Array:
        view: Array = arena[self.at : self.end].view(self.dtype).reshape(self.shape)
        return view


class GraphSteps:
    """An arena of at least so many bytes, and steps that run in the order they were added."""

    def __init__(self, arena_bytes: int) -> None:
        self._arena_bytes = operator.index(arena_bytes)
        expect(self._arena_bytes >= 0, "arena_bytes", "a number of bytes")
        self._steps: list[Callable[[Array], None]] = []
        self._nbytes = 0
        self._has_run = False

    @property
    def nbytes(self) -> int:
        """Bytes of constants."""
        return self._nbytes

    @in_default_mode
    def run(self, arena: Array) -> None:
        """Run all steps on a writable uint8 array, aligned to 16 bytes; none can be added then."""
        fits = arena.dtype == np.uint8 and arena.ndim == 1 and arena.flags.c_contiguous
        fits = fits and arena.flags.writeable and arena.ctypes.data % 16 == 0
        expected = f"a writable uint8 array of {self._arena_bytes} bytes, aligned to 16"
        expect(fits and arena.size >= self._arena_bytes, "arena", expected)
        self._has_run = True
        for step in self._steps:
            step(arena)

    def _at(self, name: str, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> Tensor:
        """Return a tensor that lies inside the arena."""
        tensor = Tensor(operator.index(offset), extents(shape, len(shape), "shape"), dtype)
        expect(offset >= 0 and offset % _ALIGNMENT == 0, name, f"a multiple of {_ALIGNMENT}")
        expect(tensor.end <= self._arena_bytes, name, "a tensor inside the arena")
        return tensor

    def _add(
        self,
        function: Callable[..., Array],
        out: Tensor,
        *inputs: Tensor,
        in_place: bool = False,
        **arguments: Any,
    ) -> None:
        """Add a step that makes `out`, which may be the first input if it works in place."""
        for i, x in enumerate(inputs):
            apart = x.end <= out.at or out.end <= x.at
            same = in_place and i == 0 and (x.at, x.end) == (out.at, out.end)
            expect(apart or same, "out", "memory that no input has")

        def step(arena: Array) -> None:
            out.of(arena)[...] = function(*(x.of(arena) for x in inputs), **arguments)

        self._keep(step, arguments)

    def _keep(self, step: Callable[[Array], None], arguments: dict[str, Any]) -> None:
        expect(not self._has_run, "self", "a program that has not run")
        self._nbytes += sum(one.nbytes for one in arguments.values() if isinstance(one, np.ndarray))
        self._steps.append(step)

    def _windowed(
        self,
        function: Callable[..., Array],
        geometry: Geometry,
        kernel: Sequence[int],
        channels: int,
        dtype: np.dtype[Any],
        **arguments: Any,
    ) -> None:
        """Add a step whose outputs read windows."""
        window, (batch, *_) = geometry.window(kernel), geometry.shape
        out = self._at("out", geometry.out, (batch, *window.size, channels), dtype)
        x = self._at("x", geometry.x, extents(geometry.shape, 4, "shape"), dtype)
        self._add(function, out, x, window=window, **arguments)
