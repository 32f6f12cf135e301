# SPDX-License-Identifier: Apache-2.0
"""Bias correction of graphs: what rounding weights adds to outputs on average is taken off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from octavo._types import Array, Float64
from octavo.algorithms.smoothing import MeanError
from octavo.compression.graph_rules import FLOAT, RULES, given, weight_of
from octavo.compression.graph_weights import Codes, channel_codes, copied, finite
from octavo.graph import Graph, Operator, Session, Tensor


class MeanInputs:
    """The means of what operators with weights read, over all calls.

    Operators with weights are linear before their activation: what they make of the mean of their
    inputs is the mean of what they make.
    """

    def __init__(self, graph: Graph) -> None:
        self._sums: dict[int, Float64] = {
            one.inputs[RULES[one.kind].data]: np.zeros(())
            for one in graph.operators
            if weight_of(graph, one) >= 0
        }
        self._calls = 0

    def __call__(self, values: Mapping[int, Array]) -> None:
        """Take in the tensors of one call."""
        self._calls += 1
        for index in self._sums:
            if index in values:
                self._sums[index] = self._sums[index] + values[index]

    def mean(self, index: int) -> Array:
        """Return the mean of a tensor."""
        return (self._sums[index] / self._calls).astype(np.float32)


def corrected_biases(
    graph: Graph, means: MeanInputs, rounded: Mapping[int, Codes]
) -> dict[int, Array]:
    """Return for each operator with weights the bias that rounding its weight asks for."""
    found = {}
    for place, operator in enumerate(graph.operators):
        index, rule = weight_of(graph, operator), RULES.get(operator.kind)
        if index < 0 or rule is None or given(operator, rule.bias) < 0:
            continue
        weight = finite(graph, index)
        codes, quantization = rounded.get(place) or channel_codes(weight, rule.axis)
        mean = means.mean(operator.inputs[rule.data])
        wanted = _linear(graph, operator, weight, mean)
        got = _linear(graph, operator, quantization.dequantized(codes), mean)
        error = MeanError(wanted.shape[-1])
        error.update(got, wanted)
        found[place] = error.corrected(graph.tensors[operator.inputs[rule.bias]].data)
    return found


def with_biases(graph: Graph) -> Graph:
    """Return a copy in which operators with weights have biases, if of zeros."""
    made = copied(graph)
    for place, operator in enumerate(graph.operators):
        rule = RULES.get(operator.kind)
        if rule is None or weight_of(graph, operator) < 0 or given(operator, rule.bias) >= 0:
            continue
        channels = graph.tensors[weight_of(graph, operator)].shape[rule.axis]
        zeros = np.zeros(channels, np.float32)
        name = f"{graph.tensors[operator.outputs[0]].name}_bias"
        inputs = (*operator.inputs[: rule.bias], len(made.tensors))
        made.operators[place] = replace(operator, inputs=inputs)
        made.tensors.append(Tensor(name, zeros.shape, FLOAT, zeros))
    return made


def _linear(graph: Graph, operator: Operator, weight: Array, x: Array) -> Any:
    """Return what an operator makes with another weight, no bias and no activation."""
    rule = RULES[operator.kind]
    tensors = [replace(graph.tensors[i]) for i in operator.inputs[: rule.bias]]
    tensors[rule.weight].data, tensors[rule.data].data = weight, None
    tensors.append(replace(graph.tensors[operator.outputs[0]]))
    places = tuple(range(rule.bias))
    options = {**operator.options, "fused_activation_function": "none"}
    one = Operator(operator.kind, places, (rule.bias,), options)
    return Session(Graph(tensors, [one], [rule.data], [rule.bias], [], ""))(x)[0]
