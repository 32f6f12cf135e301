# SPDX-License-Identifier: Apache-2.0
"""Small graphs for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from octavo.graph import Graph, Operator, Quantization, Tensor
from octavo.graph.evaluate import evaluate
from octavo.graph.infer import inferred

F32, I8, I32 = (np.dtype(name) for name in ("float32", "int8", "int32"))


class Draft:
    """A graph that is written operator by operator; methods return indices of tensors."""

    def __init__(self) -> None:
        self.graph = Graph([], [], [], [])

    def input(self, *shape: int, dtype: Any = F32, q: tuple[float, int] | None = None) -> int:
        index = self._tensor(shape, dtype, q)
        self.graph.inputs.append(index)
        return index

    def constant(self, data: Any, q: Any = None) -> int:
        data = np.asarray(data)
        data = data.astype(
            {"int64": "int32", "float64": "float32"}.get(data.dtype.name, data.dtype)
        )
        index = self._tensor(data.shape, data.dtype, q)
        self.graph.tensors[index].data = data
        return index

    def op(
        self,
        kind: str,
        *inputs: int,
        dtype: Any = None,
        q: tuple[float, int] | None = None,
        outputs: int = 1,
        **options: Any,
    ) -> Any:
        """Write an operator; its output is of the first input's type unless one is given."""
        if kind in {"conv_2d", "depthwise_conv_2d", "max_pool_2d", "average_pool_2d"}:
            options = {"stride_h": 1, "stride_w": 1, "padding": "valid"} | options
        first = self.graph.tensors[inputs[0]]
        types = dtype if isinstance(dtype, list) else [dtype or first.dtype] * outputs
        made = tuple(self._tensor((), one, q) for one in types)
        self.graph.operators.append(Operator(kind, inputs, made, options))
        return made[0] if len(made) == 1 else made

    def done(self, *outputs: int) -> Graph:
        self.graph.outputs = list(outputs)
        return self.graph

    def _tensor(self, shape: Sequence[int], dtype: Any, q: Any) -> int:
        if isinstance(q, tuple):
            q = Quantization.per_tensor(*q)
        name = f"t{len(self.graph.tensors)}"
        self.graph.tensors.append(Tensor(name, tuple(shape), np.dtype(dtype), None, q))
        return len(self.graph.tensors) - 1


def one_by_one(graph: Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """Compute a graph with NumPy, operator by operator, as it stands."""
    values = {i: t.data for i, t in enumerate(graph.tensors) if t.data is not None}
    values.update(zip(graph.inputs, inputs, strict=True))
    known = inferred(graph, {i: x.shape for i, x in zip(graph.inputs, inputs, strict=True)})
    for index in graph.order():
        op = graph.operators[index]
        ins = [graph.tensors[i] if i >= 0 else None for i in op.inputs]
        outs = [graph.tensors[i] for i in op.outputs]
        arrays = [values.get(i) for i in op.inputs]
        values.update(
            zip(op.outputs, evaluate(op, known.calls[index], ins, outs, arrays), strict=True)
        )
    return [values[i] for i in graph.outputs]


def weights(*shape: int, axis: int, dtype: Any = np.int8) -> tuple[Any, Any]:
    """Return codes of weights and their scales."""
    rng, n = np.random.default_rng(3), shape[axis]
    q = Quantization(rng.uniform(0.01, 0.03, n).astype(np.float32), np.zeros(n, np.int64), axis)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype), q
