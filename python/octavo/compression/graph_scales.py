# SPDX-License-Identifier: Apache-2.0
"""The scales of a graph's tensors: found by running it, and shared where operators ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from octavo._text import shown
from octavo._types import Array
from octavo.algorithms.observers import Observer
from octavo.compression.graph_rules import FLOAT, RULES, codes_of, float_outputs
from octavo.compression.graph_run import Exposed, Feed
from octavo.graph import Graph, Quantization

Observers = dict[int, Observer]
Make = Callable[[str], Observer]


def activations(graph: Graph) -> list[int]:
    """Return the float tensors that get their values while a graph runs."""
    made = [i for one in graph.operators for i in float_outputs(graph, one)]
    return [i for i in graph.inputs if graph.tensors[i].dtype == FLOAT] + made


def observed(
    graph: Graph,
    feeds: Iterable[Feed],
    make: Make,
    see: Iterable[Callable[[dict[int, Array]], None]] = (),
) -> Observers:
    """Return an observer for each float tensor of a graph, after it has run over data.

    Parameters
    ----------
    graph : Graph
        Float.
    feeds : iterable of tuples of arrays
        What it is called with, call by call.
    make : callable
        Returns a new observer for a name.
    see : iterable of callables
        They get the values of each call, too.
    """
    tensors = activations(graph)
    observers = {i: make(f"calibration: tensor {shown(graph.tensors[i].name)}") for i in tensors}
    run = Exposed(graph, tensors)
    for feed in feeds:
        values = run(feed)
        for index, observer in observers.items():
            observer.update(values[index])
        for one in see:
            one(values)
    return observers


def scales_of(
    graph: Graph, integer: set[int], observers: Mapping[int, Observer], make: Make
) -> dict[int, Quantization]:
    """Return how int8 operators read and make each float tensor, and how borders are quantized.

    Parameters
    ----------
    graph : Graph
    integer : set of int
        The operators that are int8.
    observers : dict of Observer
        Of all float tensors that are no constants.
    make : callable
        Returns a new observer for a name.
    """
    groups = _groups(graph, integer)
    copied = {
        i
        for one in integer
        if RULES[graph.operators[one].kind].keeps_scale
        for i in graph.operators[one].outputs
    }
    set_by_rule = _set_by_rule(graph, integer)
    found = {}
    for group in groups:
        sources = [i for i in group if i not in copied]
        rules = {set_by_rule.get(i) for i in sources}
        rule = rules.pop() if len(rules) == 1 else None
        if rule is None:
            rule = _merged([_observer(graph, i, observers, make) for i in sources], make)
        found.update(dict.fromkeys(group, Quantization.per_tensor(*rule)))
    return found


def _set_by_rule(graph: Graph, integer: set[int]) -> dict[int, tuple[float, int]]:
    """Return the scales of tensors that their operators fix."""
    operators = [graph.operators[index] for index in integer]
    return {
        i: rule
        for one in operators
        if (rule := RULES[one.kind].output) is not None
        for i in float_outputs(graph, one)
    }


def _groups(graph: Graph, integer: set[int]) -> list[list[int]]:
    """Return the tensors that need scales, those together that must have the same."""
    borders = [*graph.inputs, *graph.outputs]
    leader = {i: i for i in borders if graph.tensors[i].dtype == FLOAT}

    def top(i: int) -> int:
        while leader.setdefault(i, i) != i:
            i = leader[i]
        return i

    for index in sorted(integer):
        operator = graph.operators[index]
        beside = codes_of(graph, operator) + float_outputs(graph, operator)
        first = beside[0]
        for i in beside:
            kept = RULES[operator.kind].keeps_scale
            leader[top(i)] = top(first) if kept else top(i)
    groups: dict[int, list[int]] = {}
    for i in list(leader):
        groups.setdefault(top(i), []).append(i)
    return list(groups.values())


def _observer(graph: Graph, index: int, observers: Mapping[int, Observer], make: Make) -> Observer:
    """Return what was seen of a tensor; of a constant, its values."""
    if index in observers:
        return observers[index]
    tensor = graph.tensors[index]
    observer = make(f"tensor {shown(tensor.name)}")
    observer.update(tensor.data if tensor.data is not None else np.zeros(0, np.float32))
    return observer


def _merged(parts: list[Observer], make: Make) -> tuple[float, int]:
    if len(parts) == 1:
        return parts[0].scale_zero_point()
    whole = make(parts[0].name)
    for part in parts:
        whole.merge(part)
    return whole.scale_zero_point()
