# SPDX-License-Identifier: Apache-2.0
"""Graphs with fewer operators that compute the same, as files can say it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from octavo._types import Array
from octavo.compression.graph_rules import FLOAT, RULES, given, weight_of
from octavo.compression.graph_weights import compact, copied
from octavo.graph import Graph, Operator, infer_shapes
from octavo.graph.simplify import (
    Uses,
    activation_into_operator,
    bias_into_product,
    ends_plainly,
    fuse,
)


def fused(graph: Graph) -> Graph:
    """Return a copy with fewer operators.

    Factors and addends of channels are in weights and biases, activations in what they follow.

    A scale that is found for what comes between two operators is a rounding that is not needed if
    they are one.
    """
    made = copied(graph)
    made.operators = [graph.operators[index] for index in graph.order()]
    made.tensors = [
        replace(one, shape=shape)
        for one, shape in zip(graph.tensors, infer_shapes(graph), strict=True)
    ]
    for rule in (_factor_into_weight, bias_into_product, activation_into_operator):
        fuse(made, rule)
    return compact(made)


def _factor_into_weight(
    graph: Graph, uses: Uses, mul: Operator
) -> tuple[Operator, Operator] | None:
    """Multiply a weight and a bias by constants, one for each channel, that come behind them."""
    if mul.kind != "mul":
        return None
    for x, c in (mul.inputs, mul.inputs[::-1]):
        product, factor = uses.private(x), graph.tensors[c]
        if product is None or factor.data is None or not ends_plainly(product):
            continue
        weight, rule = weight_of(graph, product), RULES.get(product.kind)
        if weight < 0 or rule is None or factor.dtype != FLOAT:
            continue
        channels = graph.tensors[weight].shape[rule.axis]
        if factor.data.size not in (1, channels) or factor.shape[-1:] not in (
            (),
            (1,),
            (channels,),
        ):
            continue
        factors = np.broadcast_to(factor.data.reshape(-1), (channels,))
        shape = [1] * len(graph.tensors[weight].shape)
        shape[rule.axis] = channels
        inputs = list(product.inputs)
        inputs[rule.weight] = _scaled(graph, weight, factors.reshape(shape))
        if given(product, rule.bias) >= 0:
            inputs[rule.bias] = _scaled(graph, product.inputs[rule.bias], factors)
        key = "fused_activation_function"
        options = product.options | {key: mul.options.get(key, "none")}
        return product, replace(product, inputs=tuple(inputs), outputs=mul.outputs, options=options)
    return None


def _scaled(graph: Graph, index: int, factors: Array) -> int:
    old = graph.tensors[index]
    graph.tensors.append(replace(old, data=old.data * factors))
    return len(graph.tensors) - 1
