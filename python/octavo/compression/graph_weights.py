# SPDX-License-Identifier: Apache-2.0
"""Weights of graphs as int8 codes or in float16, with activations that stay float."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from octavo import _checks
from octavo._types import Array, Float32
from octavo.algorithms.rounding import nearest_rows
from octavo.compression.graph_rules import FLOAT, RULES, name_of, weight_of
from octavo.functional import quantize_linear
from octavo.graph import Graph, Operator, Quantization, Tensor

SMALLEST = 1024
"""Weights of fewer elements stay float where activations do: quantizing what they are multiplied
by would cost more than they save."""

_DYNAMIC = ("conv_2d", "depthwise_conv_2d", "fully_connected")
"""Kinds with a form of float activations and int8 weights."""

Codes = tuple[Array, Quantization]
"""A weight's codes, and what they stand for."""

_MOST_BIAS = 2.0**30
"""The largest code of a bias; the sums that it is added to are below as much again."""


def channel_rows(weight: Float32, axis: int) -> Float32:
    """Return a weight as (channels of an axis, everything else)."""
    moved = np.moveaxis(weight, axis, 0)
    return moved.reshape(len(moved), -1)


def codes_of_rows(rows: Array, scale: Float32, shape: tuple[int, ...], axis: int) -> Codes:
    """Return codes as a weight has them; the inverse of `channel_rows`."""
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    codes = np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))
    return codes, Quantization(scale, np.zeros(len(scale), np.int64), axis)


def channel_codes(weight: Float32, axis: int) -> Codes:
    """Round a weight to codes of -127 to 127, with a scale for each channel of an axis."""
    return codes_of_rows(*nearest_rows(channel_rows(weight, axis)), weight.shape, axis)


def weight_and_bias(
    weight: Float32, axis: int, bias: Float32 | None, input_scale: float, rounded: Codes | None
) -> tuple[Array, Quantization, Array | None, Quantization | None]:
    """Return the codes of a weight, and those of a bias in int32, in steps of the exact sums.

    Where a bias has no code because the channel's weights are tiny beside it, their scale is
    raised. What has been `rounded` already is taken as it is otherwise.
    """
    codes, quantization = rounded or channel_codes(weight, axis)
    if bias is None:
        return codes, quantization, None, None
    limit = np.abs(bias, dtype=np.float64) / (np.float64(input_scale) * _MOST_BIAS)
    least = _checks.rounded(limit, np.float32)
    if (least > quantization.scale).any():
        scale = np.maximum(quantization.scale, least)
        rows = quantize_linear(channel_rows(weight, axis), scale, axis=0)
        codes, quantization = codes_of_rows(rows, scale, weight.shape, axis)
    scale = np.float32(input_scale) * quantization.scale
    steps = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    of_bias = replace(quantization, scale=scale, axis=0)
    return codes, quantization, np.clip(steps, -_MOST_BIAS, _MOST_BIAS).astype(np.int32), of_bias


def finite(graph: Graph, index: int) -> Float32:
    """Return the values of a constant, which are finite."""
    tensor = graph.tensors[index]
    data: Any = tensor.data
    _checks.check_finite(data, f"tensor {tensor.name!r}")
    return data


def dynamic_operators(graph: Graph, kept: Collection[str] = ()) -> set[int]:
    """Return the operators whose weights become int8 while activations stay float."""
    found = set()
    for place, operator in enumerate(graph.operators):
        index = weight_of(graph, operator) if operator.kind in _DYNAMIC else -1
        large = index >= 0 and math.prod(graph.tensors[index].shape) >= SMALLEST
        if large and name_of(graph, operator) not in kept:
            found.add(place)
    return found


def dynamic_range(
    graph: Graph,
    chosen: set[int],
    biases: Mapping[int, Array],
    rounded: Mapping[int, Codes],
) -> Graph:
    """Return a copy in which operators have int8 weights, while activations stay float.

    Parameters
    ----------
    graph : Graph
        Float.
    chosen : set of int
        The operators.
    biases : dict of float32 arrays
        Of operators that get another one than their own.
    rounded : dict of codes
        Of operators whose weights are not rounded to nearest.
    """
    made = copied(graph)
    for place in chosen:
        operator = graph.operators[place]
        rule, index = RULES[operator.kind], weight_of(graph, operator)
        codes, quantization = rounded.get(place) or channel_codes(finite(graph, index), rule.axis)
        old = graph.tensors[index]
        operator = with_input(operator, rule.weight, len(made.tensors))
        made.tensors.append(Tensor(old.name, old.shape, codes.dtype, codes, quantization))
        if place in biases:
            old = graph.tensors[operator.inputs[rule.bias]]
            operator = with_input(operator, rule.bias, len(made.tensors))
            made.tensors.append(replace(old, data=biases[place]))
        made.operators[place] = operator
    return compact(made)


def half_precision(graph: Graph, kept: Collection[str]) -> Graph:
    """Return a copy whose constants of two axes and more are float16, and widened when it runs.

    Constants of operators whose names are kept, and those with values beyond float16, stay.
    """
    stay = {i for one in graph.operators if name_of(graph, one) in kept for i in one.inputs}
    made = copied(graph)
    widened = []
    for index, tensor in enumerate(graph.tensors):
        if tensor.data is None or tensor.dtype != FLOAT or tensor.data.ndim < 2 or index in stay:
            continue
        half = _checks.rounded(tensor.data, np.float16)
        if not np.isfinite(half).all():
            continue
        widened.append(Operator("dequantize", (len(made.tensors),), (index,)))
        made.tensors.append(Tensor(f"{tensor.name}_float16", tensor.shape, half.dtype, half))
        made.tensors[index] = replace(tensor, data=None)
    made.operators[:0] = widened
    return compact(made)


def copied(graph: Graph) -> Graph:
    """Return a graph with lists of its own; tensors and operators are shared."""
    made = copy.copy(graph)
    made.tensors, made.operators = list(graph.tensors), list(graph.operators)
    made.inputs, made.outputs = list(graph.inputs), list(graph.outputs)
    return made


def with_input(operator: Operator, place: int, tensor: int) -> Operator:
    """Return a copy of an operator that reads another tensor at one place."""
    inputs = list(operator.inputs)
    inputs[place] = tensor
    return replace(operator, inputs=tuple(inputs))


def compact(graph: Graph) -> Graph:
    """Return a graph without the tensors that nothing has to do with."""
    used = {i for one in graph.operators for i in (*one.inputs, *one.outputs) if i >= 0}
    used |= {*graph.inputs, *graph.outputs}
    places = {index: place for place, index in enumerate(sorted(used))}
    places[-1] = -1

    def moved(indices: Iterable[int]) -> list[int]:
        return [places[i] for i in indices]

    made = copied(graph)
    made.tensors = [graph.tensors[i] for i in sorted(used)]
    made.operators = [
        replace(one, inputs=tuple(moved(one.inputs)), outputs=tuple(moved(one.outputs)))
        for one in graph.operators
    ]
    made.inputs, made.outputs = moved(graph.inputs), moved(graph.outputs)
    made.signatures = [
        replace(
            one,
            inputs={name: places[i] for name, i in one.inputs.items()},
            outputs={name: places[i] for name, i in one.outputs.items()},
        )
        for one in graph.signatures
    ]
    return made
