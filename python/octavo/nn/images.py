# SPDX-License-Identifier: Apache-2.0
"""What layers on images share: inputs of floats or codes, windows, programs of their steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks, _results
from octavo._types import Array
from octavo.nn.module import Module
from octavo.nn.options import static_parameters
from octavo.qtensor import QTensor

Pair = tuple[int, int]

_ALIGNMENT = 64
_MOST_PROGRAMS = 4
"""That a layer keeps: one for each shape, and each has its weights packed."""


class Operand(NamedTuple):
    """An input: float32 values, or int8 codes with their scale."""

    data: Array
    scale: float | None
    zero_point: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return self.data.shape


class Steps(NamedTuple):
    """What a layer does with inputs of some shapes: calls of a program's `add_*`.

    Attributes
    ----------
    shape : tuple of int
        Of the output.
    calls : list of (name, what inputs are called, arguments)
    scale, zero_point : float, int, optional
        Of an output of codes.
    """

    shape: tuple[int, ...]
    calls: list[tuple[str, Sequence[str], dict[str, Any]]]
    scale: float | None = None
    zero_point: int = 0


class _Program:
    """Steps over memory of their own for the output and then the inputs."""

    def __init__(self, operands: Sequence[Operand], steps: Steps) -> None:
        self._steps = steps
        self._dtype = _results.FLOAT32 if steps.scale is None else _checks.INT8
        self._nbytes = math.prod(steps.shape) * self._dtype.itemsize
        self._places: list[int] = []
        end = self._nbytes
        for operand in operands:
            self._places.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
            end = self._places[-1] + operand.data.nbytes
        self._arena_bytes = end
        self._program = _backend.backend.GraphProgram(end)
        for name, inputs, arguments in steps.calls:
            places = dict(zip(inputs, self._places, strict=True))
            getattr(self._program, f"add_{name}")(**places, out=0, **arguments)

    def __call__(self, operands: Sequence[Operand]) -> Array | QTensor:
        arena = _results.result(None, (self._arena_bytes,), np.dtype(np.uint8), {})
        for place, operand in zip(self._places, operands, strict=True):
            data = operand.data
            arena[place : place + data.nbytes].view(data.dtype).reshape(data.shape)[...] = data
        self._program.run(arena)
        y = arena[: self._nbytes].view(self._dtype).reshape(self._steps.shape)
        scale = self._steps.scale
        return y if scale is None else QTensor(y, np.float32(scale), self._steps.zero_point)


class ImageLayer(Module):
    """A layer that takes float32 arrays and gives one, or QTensors of int8 and gives one.

    A QTensor has one scale.  Layers do not change after construction and may be called from many
    threads.
    """

    def __init__(self, output_scale: float | None = None, output_zero_point: int = 0) -> None:
        parameters = static_parameters("output", output_scale, output_zero_point)
        self.output_scale, self.output_zero_point = parameters
        self._programs: dict[Any, _Program] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_programs": {}}  # made again where they are needed

    def __call__(self, x: ArrayLike | QTensor) -> Any:
        """Apply the layer to an image, or several: (batch, height, width, channels)."""
        return self._run(operand(x, "x"))

    def _run(self, *operands: Operand) -> Any:
        if any(0 in one.shape for one in operands):
            raise ValueError(f"x: expected at least one element, got shape {operands[0].shape}")
        key = tuple((one.shape, one.scale, one.zero_point) for one in operands)
        program = self._programs.get(key)
        if program is None:
            program = _Program(operands, self._steps(*operands))
            if len(self._programs) >= _MOST_PROGRAMS:
                self._programs = {}
            self._programs[key] = program
        return program(operands)

    def _steps(self, *operands: Operand) -> Steps:
        raise NotImplementedError

    def _codes(self, x: Operand) -> tuple[float, int]:
        """Return the parameters of an output of codes: the layer's, or those of its input."""
        if self.output_scale is not None:
            return self.output_scale, self.output_zero_point
        assert x.scale is not None
        return x.scale, x.zero_point

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(parameter.nbytes for parameter in self.state_dict().values())

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, which make the layer again."""
        return {}

    def __repr__(self) -> str:
        options = {name: value for name, value in self.config().items() if value not in (None, 0)}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in options.items())})"


def operand(x: ArrayLike | QTensor, name: str) -> Operand:
    """Check an input."""
    if not isinstance(x, QTensor):
        return Operand(_checks.as_float32(x, name), None, 0)
    if x.dtype != np.int8 or x.scale.size != 1:
        raise TypeError(f"{name}: expected codes of int8 with one scale, got {x!r}")
    return Operand(x.data, float(x.scale.reshape(())), int(x.zero_point.reshape(())))


def image_shape(x: Operand) -> tuple[int, int, int, int]:
    """Return (batch, height, width, channels)."""
    if len(x.shape) != 4:
        raise ValueError(f"x: expected shape (batch, height, width, channels), got {x.shape}")
    batch, height, width, channels = x.shape
    return batch, height, width, channels


def pair(value: Any, name: str, low: int = 1) -> Pair:
    """Return a number for height and one for width; one number stands for both."""
    values = value if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{name}: expected one number or two, got {len(values)}")
    return _checks.integer(values[0], name, low), _checks.integer(values[1], name, low)


class Windows(NamedTuple):
    """How windows move over an image.

    Attributes
    ----------
    kernel, stride, dilation : (int, int)
    padding : (int, int) or "same"
        What lies beside the image, on each side; or as much as gives one output for every step of
        `stride`, the odd one below and to the right.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Pair | str

    @classmethod
    def of(cls, kernel: Pair, stride: Any, padding: Any, dilation: Any = 1) -> Windows:
        """Check how windows move."""
        if isinstance(padding, str):
            padding = _checks.choice(padding, "padding", ("same", "valid"))
            padding = (0, 0) if padding == "valid" else padding
        else:
            padding = pair(padding, "padding", 0)
        return cls(kernel, pair(stride, "stride"), pair(dilation, "dilation"), padding)

    def over(self, x: Operand) -> dict[str, Any]:
        """Return the geometry of a step, whose `size` is that of the output."""
        along = [self._along(axis, image_shape(x)[1 + axis]) for axis in (0, 1)]
        if min(size for size, _ in along) < 1:
            raise ValueError(f"x: expected at least one window of {self.kernel}, got {x.shape}")
        return {
            "shape": x.shape,
            "size": tuple(size for size, _ in along),
            "stride": self.stride,
            "dilation": self.dilation,
            "padding": tuple(before for _, before in along),
        }

    def _along(self, axis: int, extent: int) -> Pair:
        """Return how many outputs there are along an axis, and what lies before the image."""
        stride = self.stride[axis]
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        if isinstance(self.padding, str):
            size = -(-extent // stride)
            return size, max((size - 1) * stride + reach - extent, 0) // 2
        before = self.padding[axis]
        return (extent + 2 * before - reach) // stride + 1, before

    def config(self) -> dict[str, Any]:
        """Return the options that are not what they are by default."""
        plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        return {name: getattr(self, name) for name in plain if getattr(self, name) != plain[name]}


FUSED = ("none", "relu", "relu6")
"""Activations that are bounds of an output."""


def float_bounds(activation: str) -> dict[str, float]:
    """Return the bounds of float32 outputs."""
    return (
        {}
        if activation == "none"
        else {"low": 0.0} | ({"high": 6.0} if activation == "relu6" else {})
    )


def code_bounds(activation: str, scale: float, zero_point: int) -> dict[str, int]:
    """Return the bounds of codes."""
    bounds = {} if activation == "none" else {"low": zero_point}
    if activation == "relu6":
        bounds["high"] = int(min(127, np.rint(np.float32(6 / scale)) + zero_point))
    return bounds
