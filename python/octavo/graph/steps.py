# SPDX-License-Identifier: Apache-2.0
"""Operators written down as steps over buffers, before anything has a place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from octavo._types import Array
from octavo.graph.evaluate import holds_codes, quantization_of, stays_codes
from octavo.graph.graph import Graph, Operator, Tensor
from octavo.graph.kinds import Call, Shape
from octavo.graph.kinds.elementwise import FUSED
from octavo.graph.plan import Life, plan

F32, S8 = np.dtype(np.float32), np.dtype(np.int8)


class Part(NamedTuple):
    """Bytes of a buffer from an offset on."""

    buffer: int
    offset: int = 0


@dataclass
class Step:
    """One step of a program.

    Attributes
    ----------
    name : str
        The method of `GraphProgram` that adds it.
    places : dict of str to Part
        What it reads, and what it writes as "out".
    arguments : dict
    in_place : bool
        Whether "out" may be its first input.
    owner : str
        The operator it is of, for messages.
    """

    name: str
    places: dict[str, Part]
    arguments: dict[str, Any]
    in_place: bool
    owner: str

    def reads(self) -> list[int]:
        """Return the buffers that it reads."""
        return [part.buffer for name, part in self.places.items() if name != "out"]

    def writes(self) -> list[int]:
        """Return the buffers that it writes."""
        return [self.places["out"].buffer]


@dataclass
class Evaluation:
    """An operator that NumPy computes between programs."""

    op: Op
    sources: list[int | None]
    """Buffers of its inputs; None for constants and what is left out."""
    targets: list[int]

    def reads(self) -> list[int]:
        """Return the buffers that it reads."""
        return [buffer for buffer in self.sources if buffer is not None]

    def writes(self) -> list[int]:
        """Return the buffers that it writes."""
        return self.targets


@dataclass(eq=False)
class Op:
    """An operator with its tensors."""

    operator: Operator
    call: Call
    inputs: list[Tensor | None]
    outputs: list[Tensor]

    @property
    def out(self) -> Tensor:
        """Its first output."""
        return self.outputs[0]

    def x(self, position: int = 0) -> Tensor:
        """Return an input that is given."""
        tensor = self.inputs[position]
        assert tensor is not None
        return tensor

    def data(self, position: int) -> Array | None:
        """Return a constant input; None if it is another, or left out."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        return None if tensor is None else tensor.data

    def has(self, dtype: np.dtype[Any], *positions: int) -> bool:
        """Whether these inputs and the output are of a type; codes have one scale each."""
        tensors = [self.out, *(self.x(position) for position in positions)]
        return all(one.dtype == dtype for one in tensors) and (
            dtype == F32 or all(quantization_of(one).scale.size == 1 for one in tensors)
        )

    def scales(self) -> dict[str, Any]:
        """Return what a step asks for of the codes it reads and writes."""
        (scale, zero_point), (out_scale, out_zero_point) = scale_of(self.x()), scale_of(self.out)
        return {
            "scale": scale,
            "zero_point": zero_point,
            "out_scale": out_scale,
            "out_zero_point": out_zero_point,
        }

    def keeps_codes(self) -> bool:
        """Whether elements can be moved as they are."""
        return stays_codes(self.operator, self.inputs, self.outputs)

    def bounds(self) -> dict[str, Any] | None:
        """Return `low` and `high` of the activation it ends with; None if it has no such ends."""
        fused = self.operator.options.get("fused_activation_function", "none")
        if fused not in FUSED:
            return None
        low, high = FUSED[fused]
        if self.out.dtype != S8:
            return {"low": low, "high": high}
        scale, zero_point = scale_of(self.out)
        ends = np.rint(np.array([low, high], np.float32) / np.float32(scale)) + zero_point
        low, high = (int(end) for end in ends.clip(-128, 127))
        return {"low": low, "high": high}


def scale_of(tensor: Tensor) -> tuple[float, int]:
    """Return the scale and the zero point of a tensor that has one of each."""
    quantization = quantization_of(tensor)
    return float(quantization.scale[0]), int(quantization.zero_point[0])


def zero_of(tensor: Tensor) -> Array:
    """Return the element of a tensor that stands for 0."""
    zero = scale_of(tensor)[1] if holds_codes(tensor) else 0
    return np.array([zero], tensor.dtype)


def alike(x: Tensor, out: Tensor) -> bool:
    """Whether elements of one tensor can be those of another."""
    if not holds_codes(out):
        return not holds_codes(x)
    return holds_codes(x) and quantization_of(x).equals(out.quantization)


@dataclass
class Steps:
    """Steps over buffers.

    Attributes
    ----------
    graph : Graph
    steps : list of steps
    sizes : list of int
        Bytes of buffers.
    buffers : dict of int to int
        The buffers of tensors, by their indices.
    constants : dict of int to arrays
        What buffers hold from the start to the end.
    """

    graph: Graph
    steps: list[Step | Evaluation] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    buffers: dict[int, int] = field(default_factory=dict)
    constants: dict[int, Array] = field(default_factory=dict)
    owner: str = ""

    def room(self, nbytes: int) -> Part:
        """Return a new buffer."""
        self.sizes.append(nbytes)
        return Part(len(self.sizes) - 1)

    def constant(self, values: Array) -> Part:
        """Return a buffer that holds values."""
        part = self.room(values.nbytes)
        self.constants[part.buffer] = np.ascontiguousarray(values)
        return part

    def at(self, index: int) -> Part:
        """Return the buffer of a tensor."""
        if index not in self.buffers:
            tensor = self.graph.tensors[index]
            if tensor.data is None:
                part = self.room(math.prod(tensor.shape) * tensor.dtype.itemsize)
            else:
                part = self.constant(tensor.data)
            self.buffers[index] = part.buffer
        return Part(self.buffers[index])

    def add(self, name: str, /, *, in_place: bool = False, **arguments: Any) -> None:
        """Write a step down; what is a `Part` among its arguments is a place."""
        places = {key: one for key, one in arguments.items() if isinstance(one, Part)}
        others = {key: one for key, one in arguments.items() if key not in places}
        self.steps.append(Step(name, places, others, in_place, self.owner))

    def alias(self, op: Op) -> bool:
        """Let the output of an operator be the bytes of its first input."""
        self.buffers[op.operator.outputs[0]] = self.at(op.operator.inputs[0]).buffer
        return True

    def ends(self, op: Op) -> dict[str, Any]:
        """Return the places of the first input and of the output."""
        return {"x": self.at(op.operator.inputs[0]), "out": self.at(op.operator.outputs[0])}

    def evaluate(self, op: Op) -> None:
        """Leave an operator to NumPy."""
        sources = [
            None if tensor is None or tensor.data is not None else self.at(index).buffer
            for index, tensor in zip(op.operator.inputs, op.inputs, strict=True)
        ]
        targets = [self.at(index).buffer for index in op.operator.outputs]
        self.steps.append(Evaluation(op, sources, targets))

    def copy(
        self, x: Part, out: Part, shape: Shape, x_strides: Shape, out_strides: Shape, size: int
    ) -> None:
        """Write down a copy of elements of `size` bytes between places with strides in bytes."""
        axes = [one for one in zip(shape, x_strides, out_strides, strict=True) if one[0] != 1]
        merged: list[tuple[int, int, int]] = [(size, 1, 1)]
        for count, *strides in reversed(axes):
            inner, *within = merged[-1]
            if all(stride == inner * step for stride, step in zip(strides, within, strict=True)):
                merged[-1] = (inner * count, within[0], within[1])
            else:
                merged.append((count, strides[0], strides[1]))
        (inner, _, _), *outer = merged
        outer.reverse()
        self.add(
            "add_copy",
            x=x,
            out=out,
            shape=(*(count for count, _, _ in outer), inner),
            x_strides=tuple(stride for _, stride, _ in outer),
            out_strides=tuple(stride for _, _, stride in outer),
        )

    def placed(self) -> tuple[list[int], int]:
        """Return the offset of each buffer in an arena, and the bytes of that."""
        first, last = self._lives()
        owner = list(range(len(self.sizes)))
        for index, step in enumerate(self.steps):
            if not isinstance(step, Step) or not step.in_place:
                continue
            source, *others = (owner[one] for one in step.reads())
            (target,) = step.writes()
            ends_here = last[source] == index and first[target] == index
            if ends_here and source not in others and self.sizes[source] == self.sizes[target]:
                owner[target], last[source] = source, last[target]
        kept = [one for one, o in enumerate(owner) if o == one and first[one] <= last[one]]
        offsets, nbytes = plan([Life(self.sizes[one], first[one], last[one]) for one in kept])
        place = dict(zip(kept, offsets.tolist(), strict=True))
        return [place.get(one, 0) for one in owner], nbytes

    def _lives(self) -> tuple[list[int], list[int]]:
        """Return at which steps buffers begin and end to hold something."""
        end = len(self.steps)
        first, last = [end] * len(self.sizes), [-1] * len(self.sizes)
        for index, step in enumerate(self.steps):
            for buffer in (*step.reads(), *step.writes()):
                first[buffer], last[buffer] = min(first[buffer], index), max(last[buffer], index)
        for tensor in self.graph.inputs:
            first[self.at(tensor).buffer] = -1
        for tensor in self.graph.outputs:
            last[self.at(tensor).buffer] = end
        for buffer in self.constants:
            first[buffer], last[buffer] = -1, end
        return first, last
