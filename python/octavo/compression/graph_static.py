# SPDX-License-Identifier: Apache-2.0
"""Graphs in int8 from end to end: activations with fixed scales, biases in int32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from octavo._types import Array
from octavo.compression.graph_rules import FLOAT, INT8, RULES, given
from octavo.compression.graph_weights import Codes, finite, weight_and_bias
from octavo.graph import Graph, Operator, Quantization, Tensor

UINT8 = np.dtype(np.uint8)
Types = tuple[np.dtype[Any], np.dtype[Any]]
"""Of the float inputs and the float outputs of a graph."""
BORDERS = (FLOAT, INT8, UINT8)
"""What the inputs and outputs of a quantized graph may be."""


def quantized(
    graph: Graph,
    integer: set[int],
    scales: Mapping[int, Quantization],
    biases: Mapping[int, Array],
    rounded: Mapping[int, Codes],
    types: Types = (FLOAT, FLOAT),
) -> Graph:
    """Return a graph with some operators in int8, and changes of type where others read from them.

    Parameters
    ----------
    graph : Graph
        Float.
    integer : set of int
        The operators that become int8.
    scales : dict of Quantization
        Of the float tensors that they read and make, and of all inputs and outputs.
    biases : dict of float32 arrays
        Of operators that get another one than their own.
    rounded : dict of codes
        Of operators whose weights are not rounded to nearest.
    types : (input type, output type)
        float32, int8 or uint8: of the float inputs and outputs.
    """
    return _Making(graph, integer, scales, biases, rounded, types).whole()


class _Making:
    """A graph that is being made of another one.

    A float tensor of the old one has up to two forms in the new one; `_same` and `_codes` have
    the indices of those that are there, and the other form is made when it is asked for. Tensors
    that are not float have one.
    """

    def __init__(
        self,
        graph: Graph,
        integer: set[int],
        scales: Mapping[int, Quantization],
        biases: Mapping[int, Array],
        rounded: Mapping[int, Codes],
        types: Types,
    ) -> None:
        self._graph, self._integer, self._scales = graph, integer, scales
        self._biases, self._rounded = biases, rounded
        # An input that is an output too is given as the input is.
        self._types = dict.fromkeys(graph.outputs, types[1])
        self._types.update(dict.fromkeys(graph.inputs, types[0]))
        self._made = Graph([], [], [], [], [], graph.name)
        self._same: dict[int, int] = {}
        self._codes: dict[int, int] = {}

    def whole(self) -> Graph:
        """Return the new graph."""
        graph, made = self._graph, self._made
        made.inputs = [self._input(index) for index in graph.inputs]
        for index in graph.order():
            operator = graph.operators[index]
            if index in self._integer:
                self._add_integer(index)
            else:
                inputs = tuple(self._as_it_was(i) for i in operator.inputs)
                outputs = tuple(self._keep(i) for i in operator.outputs)
                self._add(operator.kind, inputs, outputs, operator.options)
        made.outputs = [self._output(index) for index in graph.outputs]
        places = dict(zip(graph.outputs, made.outputs, strict=True))
        places |= zip(graph.inputs, made.inputs, strict=True)
        made.signatures = [
            replace(
                one,
                inputs={name: places[i] for name, i in one.inputs.items()},
                outputs={name: places[i] for name, i in one.outputs.items()},
            )
            for one in graph.signatures
        ]
        return made

    def _input(self, index: int) -> int:
        kind = self._types[index] if self._graph.tensors[index].dtype == FLOAT else FLOAT
        if kind == FLOAT:
            return self._keep(index)
        if kind == INT8:
            return self._new_codes(index, self._scales[index])
        given = self._new(index, UINT8, _shifted(self._scales[index]))
        self._add("quantize", (given,), (self._new_codes(index, self._scales[index]),))
        return given

    def _output(self, index: int) -> int:
        kind = self._types[index] if self._graph.tensors[index].dtype == FLOAT else FLOAT
        if kind == FLOAT:
            return self._as_it_was(index)
        codes = self._as_codes(index)
        if kind == INT8:
            return codes
        given = self._new(index, UINT8, _shifted(self._scales[index]))
        self._add("quantize", (codes,), (given,))
        return given

    def _add_integer(self, place: int) -> None:
        operator = self._graph.operators[place]
        rule = RULES[operator.kind]
        weight, bias = given(operator, rule.weight), given(operator, rule.bias)
        inputs = [
            self._as_codes(i) if self._is_float(i) and i not in (weight, bias) else -1
            for i in operator.inputs
        ]
        for position, i in enumerate(operator.inputs):
            if i >= 0 and not self._is_float(i):
                inputs[position] = self._as_it_was(i)
        if weight >= 0:
            inputs[rule.weight], made = self._weight(place)
            if bias >= 0:
                inputs[rule.bias] = made
        outputs, changes = [], []
        for i in operator.outputs:
            if not self._is_float(i):
                outputs.append(self._keep(i))
                continue
            own = Quantization.per_tensor(*rule.output) if rule.output else self._scales[i]
            if own.equals(self._scales[i]):
                outputs.append(self._new_codes(i, own))
            else:
                outputs.append(self._new(i, INT8, own))
                changes.append((outputs[-1], i))
        self._add(operator.kind, tuple(inputs), tuple(outputs), operator.options)
        for codes, i in changes:
            self._add("quantize", (codes,), (self._new_codes(i, self._scales[i]),))

    def _is_float(self, index: int) -> bool:
        return index >= 0 and self._graph.tensors[index].dtype == FLOAT

    def _weight(self, place: int) -> tuple[int, int]:
        """Add the weight and the bias of an operator."""
        operator = self._graph.operators[place]
        rule = RULES[operator.kind]
        weight, bias = operator.inputs[rule.weight], given(operator, rule.bias)
        own = None if bias < 0 else finite(self._graph, bias)
        codes, of_codes, steps, of_steps = weight_and_bias(
            finite(self._graph, weight),
            rule.axis,
            self._biases.get(place, own),
            float(self._scales[operator.inputs[rule.data]].scale[0]),
            self._rounded.get(place),
        )
        first = self._constant(weight, codes, of_codes)
        return first, -1 if steps is None else self._constant(bias, steps, of_steps)

    def _constant(self, index: int, codes: Any, quantization: Quantization | None) -> int:
        made = self._new(index, codes.dtype, quantization)
        self._made.tensors[made].data = codes
        return made

    def _as_it_was(self, index: int) -> int:
        """Return the form of a tensor that it had in the old graph."""
        if index < 0:
            return -1
        if index not in self._same:
            if index in self._codes:
                codes = self._codes[index]
                self._add("dequantize", (codes,), (self._keep(index),))
            else:
                self._keep(index)
        return self._same[index]

    def _as_codes(self, index: int) -> int:
        """Return the int8 form of a float tensor."""
        if index not in self._codes:
            data, scale = self._graph.tensors[index].data, self._scales[index]
            if data is not None:
                self._codes[index] = self._constant(index, scale.quantized(data, INT8), scale)
            else:
                same = self._as_it_was(index)
                self._add("quantize", (same,), (self._new_codes(index, scale),))
        return self._codes[index]

    def _keep(self, index: int) -> int:
        """Add a tensor as it was."""
        self._same[index] = len(self._made.tensors)
        self._made.tensors.append(
            replace(self._graph.tensors[index], name=self._name(index, FLOAT))
        )
        return self._same[index]

    def _new_codes(self, index: int, quantization: Quantization) -> int:
        """Add the int8 form of a tensor."""
        self._codes[index] = self._new(index, INT8, quantization)
        return self._codes[index]

    def _new(self, index: int, dtype: np.dtype[Any], quantization: Quantization | None) -> int:
        old = self._graph.tensors[index]
        self._made.tensors.append(
            Tensor(self._name(index, dtype), old.shape, dtype, None, quantization)
        )
        return len(self._made.tensors) - 1

    def _name(self, index: int, dtype: np.dtype[Any]) -> str:
        """Return a tensor's name: its own, or for another type than a border has with that type."""
        name = self._graph.tensors[index].name
        at_border = self._types.get(index, dtype)
        return name if at_border == dtype or not self._is_float(index) else f"{name}_{dtype}"

    def _add(
        self,
        kind: str,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        options: dict[str, Any] | None = None,
    ) -> None:
        self._made.operators.append(Operator(kind, inputs, outputs, dict(options or {})))


def _shifted(quantization: Quantization) -> Quantization:
    """Return what uint8 codes stand for that are 128 above int8 ones."""
    return replace(quantization, zero_point=quantization.zero_point + 128)
