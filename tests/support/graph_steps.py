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


def convolutions(x: Array, q: Array, weight: Array, bias: Array) -> Iterator[Array]:
    """Yield a convolution of codes, one of float32 images, one by channels, and an image resized.

    Images are (1, 9, 9, 19), x of float32 and q of codes; weight is (19, 3, 3, 19), bias int32.
    """
    windows = Windows((1, 9, 9, 19), (5, 5), (3, 3), (2, 2), padding=(1, 1))
    place = windows.arguments("kernel")
    out, out_f32 = windows.out(19), windows.out(19, np.float32)
    factors = np.abs(x[0, 0, 0]) / np.float32(64)
    points = {"zero_point": -3, "out_zero_point": 5, "low": -100}
    sums = {"multiplier": factors, "bias": bias}
    yield run("conv", out, {"x": q}, weight=weight, **sums, **place, **points)
    yield run("conv_dynamic", out_f32, {"x": x}, weight=weight, scale=factors, low=0.0, **place)
    yield run("depthwise", out, {"x": q}, weight=weight[0], **sums, **place, **points)
    weight_f32 = weight[0].astype(np.float32) / np.float32(64)
    yield run("depthwise_f32", out_f32, {"x": x}, weight=weight_f32, **place)
    resized = {"shape": x.shape, "size": (5, 5), "method": "bilinear", "half_pixel_centers": True}
    yield run("resize", out, {"x": q}, **resized)
    yield run("resize_f32", out_f32, {"x": x}, **resized)
