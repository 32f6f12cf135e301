# SPDX-License-Identifier: Apache-2.0
"""What runs a graph."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._text import shown
from octavo._types import Array
from octavo.graph.evaluate import evaluate
from octavo.graph.graph import Graph, Tensor
from octavo.graph.lowering import lowered
from octavo.graph.plan import ALIGNMENT
from octavo.graph.simplify import simplify
from octavo.graph.steps import Evaluation, Step, Steps

_SIGN = np.uint8(128)


class Session:
    """A graph made ready to run.

    Its operators become steps of programs over one piece of memory, planned ahead; what is no step
    is computed by NumPy between them.  A call copies inputs in and results out.  Calls from several
    threads wait for each other, since each uses that memory, and all of the library's threads.

    Parameters
    ----------
    graph : Graph
        It is checked, and not changed.
    shapes : mapping of int to shapes, optional
        Shapes of inputs that differ from the graph's, by the indices of their tensors.

    Attributes
    ----------
    graph : Graph
    arena_bytes : int
        What all tensors that operators make take together.
    constant_bytes : int
        What the programs keep of weights.

    Raises
    ------
    ValueError
        If it is no graph, or has what no operator here can compute.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.graph import Graph, Operator, Session, Tensor
    >>> float32 = np.dtype(np.float32)
    >>> x, y = Tensor("x", (2,), float32), Tensor("y", (2,), float32)
    >>> session = Session(Graph([x, y], [Operator("relu", (0,), (1,))], [0], [1]))
    >>> session([-1.0, 2.0])
    (array([0., 2.], dtype=float32),)
    """

    def __init__(self, graph: Graph, shapes: Mapping[int, Sequence[int]] | None = None) -> None:
        graph.check()
        self.graph = graph
        self._lock = threading.Lock()
        self._build(dict(shapes or {}))

    def resize(self, shapes: Mapping[int, Sequence[int]]) -> None:
        """Make the graph ready for other shapes of inputs, by the indices of their tensors.

        Raises
        ------
        ValueError
            If there is no such input, or an operator does not take such shapes; the session stays
            as it is.
        """
        with self._lock:
            self._build({**self._given, **shapes})

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape that a tensor has here."""
        return self._shapes[index]

    def __call__(self, *inputs: ArrayLike, **named: ArrayLike) -> tuple[Array, ...]:
        """Run the graph.

        Parameters
        ----------
        *inputs : arrays
            In the order of ``graph.inputs``, of the types and shapes of those.
        **named : arrays
            By the names of input tensors, in the place of the former.

        Returns
        -------
        tuple of arrays
            In the order of ``graph.outputs``.
        """
        arrays = self._arguments(inputs, named)
        with self._lock:
            for (view, was_uint8), array in zip(self._inputs, arrays, strict=True):
                np.copyto(view, array ^ _SIGN if was_uint8 else array)
            for run in self._runs:
                run()
            return tuple(
                view ^ _SIGN if was_uint8 else view.copy() for view, was_uint8 in self._outputs
            )

    def _arguments(
        self, inputs: Sequence[ArrayLike], named: Mapping[str, ArrayLike]
    ) -> list[Array]:
        tensors = [self.graph.tensors[index] for index in self.graph.inputs]
        names = [tensor.name for tensor in tensors]
        unknown = [name for name in named if names.count(name) != 1]
        if unknown or (bool(inputs) == bool(named) and tensors):
            got = f"{shown(unknown[0])}" if unknown else f"{len(inputs)} and {len(named)} by name"
            raise TypeError(
                f"inputs: expected all in order, or by names of {shown(names)}, got {got}"
            )
        given = list(inputs) or [named[name] for name in names if name in named]
        if len(given) != len(tensors):
            raise TypeError(f"inputs: expected {len(tensors)}, got {len(given)}")
        return [
            _argument(array, self.graph.describe(index), tensor, self._shapes[index])
            for array, index, tensor in zip(given, self.graph.inputs, tensors, strict=True)
        ]

    def _build(self, shapes: dict[int, Sequence[int]]) -> None:
        simple = simplify(self.graph, shapes)
        steps = lowered(simple)
        places, nbytes = steps.placed()
        whole = np.zeros(nbytes + ALIGNMENT, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        arena = whole[start : start + nbytes]
        for buffer, values in steps.constants.items():
            _view(arena, places[buffer], values.shape, values.dtype)[...] = values
        runs, constant_bytes = _runs(steps, places, arena)

        def border(index: int) -> tuple[Array, bool]:
            """Return where an input or an output lies, and whether its codes are of uint8."""
            tensor, outside = simple.graph.tensors[index], self.graph.tensors[index].dtype
            at = places[steps.at(index).buffer]
            return _view(arena, at, tensor.shape, outside), tensor.dtype != outside

        self._inputs = [border(index) for index in self.graph.inputs]
        self._outputs = [border(index) for index in self.graph.outputs]
        self._runs, self._given = runs, shapes
        self._shapes = [tensor.shape for tensor in simple.graph.tensors]
        self.arena_bytes, self.constant_bytes = nbytes, constant_bytes


def _runs(
    steps: Steps, places: Sequence[int], arena: Array
) -> tuple[list[Callable[[], None]], int]:
    """Return what runs steps, programs and NumPy in turn, and the bytes that programs keep."""
    runs: list[Callable[[], None]] = []
    programs, program = [], None
    for step in steps.steps:
        if isinstance(step, Evaluation):
            runs.append(_evaluation(step, places, arena))
            program = None
            continue
        if program is None:
            program = _backend.backend.GraphProgram(arena.size)
            runs.append(partial(program.run, arena))
            programs.append(program)
        _add(program, step, places)
    return runs, sum(program.nbytes for program in programs)


def _add(program: Any, step: Step, places: Sequence[int]) -> None:
    offsets = {key: places[part.buffer] + part.offset for key, part in step.places.items()}
    given = {key: _contiguous(value) for key, value in step.arguments.items()}
    try:
        getattr(program, step.name)(**offsets, **given)
    except ValueError as error:
        raise ValueError(f"{step.owner}: {error}") from None


def _evaluation(step: Evaluation, places: Sequence[int], arena: Array) -> Callable[[], None]:
    op = step.op
    arrays = [
        (None if tensor is None else tensor.data)
        if buffer is None
        else _view(arena, places[buffer], op.x(i).shape, op.x(i).dtype)
        for i, (tensor, buffer) in enumerate(zip(op.inputs, step.sources, strict=True))
    ]
    targets = [
        _view(arena, places[buffer], tensor.shape, tensor.dtype)
        for tensor, buffer in zip(op.outputs, step.targets, strict=True)
    ]

    def run() -> None:
        results = evaluate(op.operator, op.call, op.inputs, op.outputs, arrays)
        for target, result in zip(targets, results, strict=True):
            target[...] = result

    return run


def _view(arena: Array, at: int, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    size = math.prod(shape) * dtype.itemsize
    return arena[at : at + size].view(dtype).reshape(shape)


def _argument(x: ArrayLike, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Array:
    """Return an input as an array of the type and the shape of its tensor."""
    array = _checks.as_array(x, name)
    if not _checks.is_typed(x) and np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        array = array.astype(tensor.dtype)
    if array.dtype != tensor.dtype:
        raise TypeError(f"{name}: expected {tensor.dtype}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}; resize changes it")
    return array


def _contiguous(value: Any) -> Any:
    """Return an argument as programs take it: arrays in C order."""
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
