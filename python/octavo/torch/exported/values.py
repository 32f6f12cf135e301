# SPDX-License-Identifier: Apache-2.0
"""A graph while it is written, and where the axes of torch's tensors lie in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from octavo.graph import Graph, Operator, Signature, Tensor
from octavo.torch.tensors import to_array

FUSES = (
    "add",
    "average_pool_2d",
    "conv_2d",
    "depthwise_conv_2d",
    "div",
    "fully_connected",
    "max_pool_2d",
    "mul",
    "sub",
)
"""Kinds of operators that may end in an activation."""


@dataclass(frozen=True)
class Value:
    """A tensor of torch in the graph: `order[i]` is the axis of torch's that lies at axis `i`.

    Permutations change `order` alone; operators that need another order ask for it.
    """

    tensor: int
    order: tuple[int, ...]


Operand: TypeAlias = Value | torch.Tensor | float
"""What operators read: a value of the graph, a constant, or a number."""


@dataclass
class Builder:
    """The tensors and operators so far."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    makers: dict[int, Operator] = field(default_factory=dict)
    readers: dict[int, int] = field(default_factory=dict)
    """How many nodes of the exported program read a tensor."""
    node: str = ""
    """What tensors of the node at work are called."""
    result: Any = None
    """What torch says of the node's result: its shape and dtype."""
    _names: dict[int, str] = field(default_factory=dict)
    _held: dict[tuple[Any, ...], tuple[int, torch.Tensor]] = field(default_factory=dict)
    _moved: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = field(default_factory=dict)

    def input(self, name: str, like: torch.Tensor, order: tuple[int, ...]) -> Value:
        """Add an input of the graph."""
        shape = tuple(like.shape[axis] for axis in order)
        return Value(self.add(Tensor(name, shape, _numpy_type(like.dtype))), order)

    def name(self, constant: torch.Tensor, name: str) -> None:
        """Call a constant by its name in the module."""
        self._names[id(constant)] = name

    def constant(self, array: torch.Tensor, order: tuple[int, ...] | None = None) -> int:
        """Return the tensor that holds a constant, its axes in an order; each is held once."""
        own = tuple(range(array.ndim)) if order is None else order
        found = self._held.get((id(array), own))
        if found is None:
            # A copy: the module may train on.
            data = np.array(to_array(array.permute(own)), order="C")
            name = self._names.get(id(array), f"{self.node}_constant")
            # `array` is kept with it, so that no other gets its id.
            found = self.add(Tensor(name, data.shape, data.dtype, data)), array
            self._held[id(array), own] = found
        return found[0]

    def integers(self, numbers: Sequence[Any]) -> int:
        """Return a constant that an operator reads its sizes or axes from."""
        return self.constant(torch.tensor(numbers, dtype=torch.int32))

    def emit(
        self, kind: str, inputs: Sequence[int], shape: Sequence[int], dtype: Any, **options: Any
    ) -> int:
        """Add an operator, and return the tensor that it makes."""
        kept = _numpy_type(dtype) if isinstance(dtype, torch.dtype) else np.dtype(dtype)
        made = self.add(Tensor(self.node, tuple(int(size) for size in shape), kept))
        operator = Operator(kind, tuple(inputs), (made,), options)
        self.operators.append(operator)
        self.makers[made] = operator
        return made

    def shape(self, x: Operand) -> tuple[int, ...]:
        """Return the shape that torch knows."""
        if isinstance(x, Value):
            lying = self.tensors[x.tensor].shape
            return tuple(lying[x.order.index(axis)] for axis in range(len(lying)))
        return tuple(x.shape) if isinstance(x, torch.Tensor) else ()

    def dtype(self, x: Value) -> np.dtype[Any]:
        """Return the type of a value's elements."""
        return self.tensors[x.tensor].dtype

    def maker(self, x: Value, kinds: Sequence[str]) -> Operator | None:
        """Return the operator that made `x` if it is of one of some kinds, and nothing else reads.

        It may be changed then, as long as what it computes is what the node at work is to give.
        """
        operator = self.makers.get(x.tensor)
        alone = operator is not None and self.readers.get(x.tensor) == 1
        return operator if alone and operator is not None and operator.kind in kinds else None

    def arranged(self, x: Value | torch.Tensor, order: tuple[int, ...]) -> int:
        """Return the tensor with the numbers of `x`, its axes in an order."""
        if not isinstance(x, Value):
            return self.constant(x, order)
        if x.order == order:
            return x.tensor
        key = (x.tensor, x.order, order)
        if key not in self._moved:
            sizes = self.shape(x)
            wide = [axis for axis in x.order if sizes[axis] != 1]
            lying = [sizes[axis] for axis in order]
            if wide == [axis for axis in order if sizes[axis] != 1]:
                self._moved[key] = self.reshape(x.tensor, lying, x.order[0] == order[0] == 0)
            else:
                moved = self.integers([x.order.index(axis) for axis in order])
                dtype = self.dtype(x)
                self._moved[key] = self.emit("transpose", (x.tensor, moved), lying, dtype)
        return self._moved[key]

    def natural(self, x: Value | torch.Tensor) -> int:
        """Return the tensor with the numbers of `x`, its axes as torch has them."""
        return self.arranged(x, tuple(range(len(self.shape(x)))))

    def reshape(self, tensor: int, shape: Sequence[int], keeps_batch: bool) -> int:
        """Add a reshape; one that keeps the first axis does so for batches of any size."""
        before = self.makers.get(tensor)
        if before is not None and before.kind == "reshape":
            keeps_batch = keeps_batch and before.options["new_shape"][0] == -1
            tensor = before.inputs[0]
        if self.tensors[tensor].shape == tuple(shape):
            return tensor
        # One size is left open, which is the batch's unless another is given by the rest.
        wanted = [-1, *shape[1:]] if keeps_batch and 0 not in shape else list(shape)
        inputs = (tensor, self.integers(wanted))
        return self.emit("reshape", inputs, shape, self.tensors[tensor].dtype, new_shape=wanted)

    def viewed(self, x: Value, shape: Sequence[int]) -> Value:
        """Return `x` in another shape, without moving numbers where its order allows that."""
        old = self.shape(x)
        new = tuple(int(size) for size in shape)
        groups = _groups(old, new)
        place = {axis: index for index, axis in enumerate(x.order)}
        groups.sort(key=lambda group: max(place[axis] for axis in group[0]))
        before = [axis for group, _ in groups for axis in group]
        after = [axis for _, group in groups for axis in group]
        lies = self.arranged(x, _with_units(before, len(old)))
        order = _with_units(after, len(new))
        keeps_batch = bool(old and new) and old[0] == new[0] and order[0] == 0
        made = self.reshape(lies, [new[axis] for axis in order], keeps_batch)
        return Value(made, order)

    def graph(self, inputs: dict[str, Value], outputs: dict[str, int], name: str) -> Graph:
        """Return the graph of what the outputs need."""
        needed = set(outputs.values())
        kept = []
        for operator in reversed(self.operators):
            if needed & {*operator.outputs}:
                needed |= {index for index in operator.inputs if index >= 0}
                kept.append(operator)
        needed |= {value.tensor for value in inputs.values()}
        new = {old: index for index, old in enumerate(sorted(needed))} | {-1: -1}
        for operator in kept:
            operator.inputs = tuple(new[index] for index in operator.inputs)
            operator.outputs = tuple(new[index] for index in operator.outputs)
        given = {key: new[value.tensor] for key, value in inputs.items()}
        made = {key: new[index] for key, index in outputs.items()}
        _name_apart([self.tensors[index] for index in sorted(needed)])
        return Graph(
            [self.tensors[index] for index in sorted(needed)],
            kept[::-1],
            [*given.values()],
            [*made.values()],
            [Signature("serving_default", given, made)],
            name,
        )

    def add(self, tensor: Tensor) -> int:
        """Add a tensor, and return its index."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def _numpy_type(dtype: torch.dtype) -> np.dtype[Any]:
    if dtype == torch.bfloat16:
        raise ValueError("expected no bfloat16, which graphs do not have")
    return to_array(torch.empty(0, dtype=dtype)).dtype


def _name_apart(tensors: Sequence[Tensor]) -> None:
    """Give tensors of one name numbers."""
    taken: set[str] = set()
    for tensor in tensors:
        name, count = tensor.name, 0
        while tensor.name in taken:
            count += 1
            tensor.name = f"{name}_{count}"
        taken.add(tensor.name)


def _groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Return which axes of a shape become which of another, the fewest together; without ones."""
    groups: list[tuple[list[int], list[int]]] = []
    left = [axis for axis, size in enumerate(old) if size != 1]
    right = [axis for axis, size in enumerate(new) if size != 1]
    while left and right:
        first, second = [left.pop(0)], [right.pop(0)]
        while (a := math.prod(old[i] for i in first)) != (b := math.prod(new[i] for i in second)):
            if a < b:
                first.append(left.pop(0))
            else:
                second.append(right.pop(0))
        groups.append((first, second))
    return groups


def _with_units(axes: list[int], rank: int) -> tuple[int, ...]:
    """Return an order of all axes: those of one element go where torch has them, or in front."""
    if axes == sorted(axes):
        return tuple(range(rank))
    return (*(axis for axis in range(rank) if axis not in axes), *axes)
