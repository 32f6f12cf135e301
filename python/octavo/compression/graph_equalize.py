# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalization of graphs: weights of neighbours share the ranges of channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from octavo._types import Array
from octavo.algorithms.smoothing import equalizing_scale, fold
from octavo.compression.graph_rules import RULES, given, name_of, weight_of
from octavo.compression.graph_weights import compact, copied, finite, with_input
from octavo.graph import Graph

_SWEEPS = 16
"""Chains of layers even out pair by pair, and over again."""

_EVEN = 1.01
"""Scales within this factor of 1 change nothing that matters."""

_THROUGH = frozenset(
    ("relu", "prelu", "leaky_relu", "max_pool_2d", "average_pool_2d", "pad", "mean", "reshape")
)
"""Kinds that leave a positive factor of a channel as it is."""

_INPUTS = {"conv_2d": 3, "depthwise_conv_2d": 3, "fully_connected": 1}
"""The axis of a weight along which its input channels lie."""


class _Pair(NamedTuple):
    """Two operators with weights, the second of which reads what the first makes."""

    first: int
    second: int


def equalized(graph: Graph) -> tuple[Graph, dict[str, str]]:
    """Return a copy that computes the same, up to rounding, with channels of even ranges.

    Returns
    -------
    (graph, left_out) : Graph, dict of str to str
        Names of layers that are followed by another one but could not be evened out with it, and
        why.
    """
    made = copied(graph)
    pairs, left_out = _pairs(graph)
    for place in {place for pair in pairs for place in pair}:
        _own(made, place)
    for _ in range(_SWEEPS):
        largest = max((_even_out(made, pair) for pair in pairs), default=1.0)
        if largest < _EVEN:
            break
    return compact(made), left_out


def _pairs(graph: Graph) -> tuple[list[_Pair], dict[str, str]]:
    readers: dict[int, list[int]] = {}
    for place, operator in enumerate(graph.operators):
        for index in operator.inputs:
            readers.setdefault(index, []).append(place)
    # What is given out is read by somebody else.
    for index in graph.outputs:
        readers.setdefault(index, []).append(-1)
    pairs, left_out = [], {}
    for place, operator in enumerate(graph.operators):
        if operator.kind not in _INPUTS or weight_of(graph, operator) < 0:
            continue
        second, refused = _next(graph, place, readers)
        if refused:
            left_out[name_of(graph, operator)] = refused
        elif second is not None:
            pairs.append(_Pair(place, second))
    return pairs, left_out


def _next(graph: Graph, place: int, readers: dict[int, list[int]]) -> tuple[int | None, str | None]:
    """Return the layer behind another one, or why the two cannot be evened out."""
    operator = graph.operators[place]
    channels = graph.tensors[operator.outputs[0]].shape[-1]
    while True:
        activation = operator.options.get("fused_activation_function", "none")
        output = operator.outputs[0]
        if graph.tensors[output].shape[-1:] != (channels,):
            return None, None
        if len(readers.get(output, ())) != 1:
            return None, "more than one operator reads what it makes"
        reader = readers[output][0]
        if reader < 0:
            return None, None
        if activation not in ("none", "relu"):
            return None, f"{activation} cuts at a value that would be another one in each channel"
        operator = graph.operators[reader]
        if operator.kind in _INPUTS:
            if weight_of(graph, operator) < 0 or operator.inputs[0] != output:
                return None, None
            weight = graph.tensors[weight_of(graph, operator)]
            fits = weight.shape[_INPUTS[operator.kind]] == channels
            return (reader, None) if fits else (None, "the next layer has groups of channels")
        if operator.kind not in _THROUGH:
            return None, f"{operator.kind} lies between it and the next layer"
        if operator.inputs[0] != output:
            return None, None


def _own(graph: Graph, place: int) -> None:
    """Give an operator a weight and a bias that no other one reads."""
    operator = graph.operators[place]
    rule = RULES[operator.kind]
    for position in (rule.weight, rule.bias):
        index = given(operator, position)
        if index >= 0:
            values = np.array(finite(graph, index))
            operator = with_input(operator, position, len(graph.tensors))
            graph.tensors.append(replace(graph.tensors[index], data=values))
    graph.operators[place] = operator


def _even_out(graph: Graph, pair: _Pair) -> float:
    """Move scale between two weights; return by how much at most."""
    first, second = (graph.operators[place] for place in pair)
    weight, reader = (graph.tensors[weight_of(graph, one)] for one in (first, second))
    bias_index = given(first, RULES[first.kind].bias)
    bias = None if bias_index < 0 else graph.tensors[bias_index].data
    outputs, inputs = RULES[first.kind].axis, _INPUTS[second.kind]
    made, read = (_rows(weight.data, outputs), _rows(reader.data, inputs).T)
    try:
        scale = equalizing_scale(made, read)
        made, bias, read = fold(made, bias, read, scale)
    except ValueError as error:
        names = " and ".join(repr(name_of(graph, one)) for one in (first, second))
        raise ValueError(f"layers {names}: {error}") from None
    weight.data = _unrows(made, weight.shape, outputs)
    reader.data = _unrows(read.T, reader.shape, inputs)
    if bias_index >= 0:
        graph.tensors[bias_index].data = bias
    return float(np.maximum(scale, 1 / scale).max(initial=1.0))


def _rows(weight: Any, axis: int) -> Array:
    """Return a weight with a row for each channel of an axis."""
    moved = np.moveaxis(weight, axis, 0)
    return moved.reshape(len(moved), -1)


def _unrows(rows: Array, shape: tuple[int, ...], axis: int) -> Array:
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))
