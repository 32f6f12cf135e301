# SPDX-License-Identifier: Apache-2.0
"""Running graphs, float and quantized ones alike, on float values, and looking inside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from octavo._types import Array
from octavo.graph import Graph, Session

Feed = tuple[Array, ...]


class Exposed:
    """A graph that takes floats and gives some of its tensors, as floats, instead of its outputs.

    Parameters
    ----------
    graph : Graph
    tensors : iterable of int
        What it gives; inputs are given back.
    """

    def __init__(self, graph: Graph, tensors: Iterable[int]) -> None:
        self._graph = graph
        tensors = dict.fromkeys(tensors)
        self._given = [i for i in tensors if i in graph.inputs]
        self._made = [i for i in tensors if i not in graph.inputs]
        self._session = Session(replace(graph, outputs=self._made, signatures=[]))

    def __call__(self, feed: Feed) -> dict[int, Array]:
        """Return the tensors by their indices."""
        values = dict(zip(self._graph.inputs, feed, strict=True))
        codes = [self._codes(index, value) for index, value in values.items()]
        made = zip(self._made, self._session(*codes), strict=True)
        return {i: values[i] for i in self._given} | {i: self._numbers(i, y) for i, y in made}

    def _codes(self, index: int, value: Array) -> Array:
        tensor = self._graph.tensors[index]
        known = tensor.quantization
        return value if known is None else known.quantized(value, tensor.dtype)

    def _numbers(self, index: int, value: Array) -> Array:
        known = self._graph.tensors[index].quantization
        return value if known is None else known.dequantized(value)
