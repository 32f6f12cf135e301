# SPDX-License-Identifier: Apache-2.0
"""What a session runs in the place of a graph: the same results from fewer operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from octavo.graph.evaluate import holds_codes
from octavo.graph.graph import Graph, Operator, Quantization
from octavo.graph.infer import Inferred, inferred
from octavo.graph.kinds.elementwise import FUSED

_WINDOWED = ("conv_2d", "depthwise_conv_2d")
_ENDS_IN_ACTIVATION = (*_WINDOWED, "fully_connected", "add", "sub", "mul", "average_pool_2d")
_FUSED = "fused_activation_function"
_UINT8, _INT8 = np.dtype(np.uint8), np.dtype(np.int8)


class Simple(NamedTuple):
    """A graph whose operators are in order and of known shapes."""

    graph: Graph
    known: Inferred


def simplify(graph: Graph, inputs: Mapping[int, Sequence[int]]) -> Simple:
    """Return a graph that computes the same, for inputs of these shapes.

    What follows from constants and shapes is computed.  Padding goes into convolutions, additions
    of constants into biases, activations into what they follow.  What nothing depends on is left
    out.  Tensors keep their indices; those of ``uint8`` codes have become ``int8``.
    """
    graph = signed(graph)
    known = inferred(graph, inputs, fold=True)
    for index, value in known.values.items():
        graph.tensors[index].data = value
    graph.operators = [
        graph.operators[i] for i in known.calls if graph.operators[i].outputs[0] not in known.values
    ]
    for index, shape in enumerate(known.shapes):
        graph.tensors[index].shape = shape
    for rule in (_pad_into_conv, bias_into_product, activation_into_operator):
        fuse(graph, rule)
    graph.operators = _needed(graph)
    return Simple(graph, inferred(graph, {}))


def signed(graph: Graph) -> Graph:
    """Return a copy of a graph in which codes of uint8 are those of int8, less 128.

    An operator that takes codes as plain integers keeps them as they are.
    """
    raw = {i for one in graph.operators if one.kind == "cast" for i in (*one.inputs, *one.outputs)}
    tensors = []
    for index, tensor in enumerate(graph.tensors):
        if tensor.dtype != _UINT8 or not holds_codes(tensor) or index in raw:
            tensors.append(replace(tensor))
            continue
        assert tensor.quantization is not None
        points = tensor.quantization.zero_point - 128
        quantization = Quantization(tensor.quantization.scale, points, tensor.quantization.axis)
        data = None if tensor.data is None else (tensor.data ^ np.uint8(128)).view(np.int8)
        tensors.append(replace(tensor, dtype=_INT8, data=data, quantization=quantization))
    operators = [replace(one, options=dict(one.options)) for one in graph.operators]
    return replace(graph, tensors=tensors, operators=operators)


class Uses:
    """Who makes a tensor, and whether one operator alone reads it."""

    def __init__(self, graph: Graph) -> None:
        self.maker = {t: one for one in graph.operators for t in one.outputs}
        self._reads = Counter(graph.outputs)
        self._reads.update(t for one in graph.operators for t in one.inputs)

    def private(self, tensor: int) -> Operator | None:
        """Return what makes a tensor that nobody reads but the one who asks."""
        return self.maker.get(tensor) if self._reads[tensor] == 1 else None


Rule = Callable[[Graph, Uses, Operator], "tuple[Operator, Operator] | None"]


def fuse(graph: Graph, rule: Rule) -> None:
    """Put one operator in the place of two, wherever a rule says which."""
    uses = Uses(graph)
    kept: dict[int, Operator] = {}
    for operator in graph.operators:
        found = rule(graph, uses, operator)
        if found is not None:
            gone, operator = found
            del kept[id(gone)]
            uses.maker.update(dict.fromkeys(operator.outputs, operator))
        kept[id(operator)] = operator
    graph.operators = list(kept.values())


def _pad_into_conv(graph: Graph, uses: Uses, conv: Operator) -> tuple[Operator, Operator] | None:
    if conv.kind not in _WINDOWED or conv.options.get("padding", "valid") != "valid":
        return None
    pad = uses.private(conv.inputs[0])
    if pad is None or pad.kind != "pad" or not _alike(graph, pad.inputs[0], conv.inputs[0]):
        return None
    ends = graph.tensors[pad.inputs[1]].data
    if ends is None or ends.shape != (4, 2) or ends[[0, 3]].any():
        return None
    options = conv.options | {"padding": tuple(int(end) for end in ends[1:3].reshape(-1))}
    return pad, replace(conv, inputs=(pad.inputs[0], *conv.inputs[1:]), options=options)


def bias_into_product(graph: Graph, uses: Uses, add: Operator) -> tuple[Operator, Operator] | None:
    """Put what is added to each channel of a product into its bias."""
    if add.kind != "add":
        return None
    for x, b in (add.inputs, add.inputs[::-1]):
        product, bias, made = uses.private(x), graph.tensors[b], graph.tensors[x]
        if bias.data is None or product is None or bias.dtype != np.float32:
            continue
        fits = bias.shape[-1:] == made.shape[-1:] == (bias.data.size,)
        if not fits or product.kind not in (*_WINDOWED, "fully_connected"):
            continue
        old = [graph.tensors[index].data for index in product.inputs[2:] if index >= 0]
        if ends_plainly(product) and all(one is not None for one in old):
            values = bias.data.reshape(-1) + (old[0] if old else np.float32(0))
            inputs = (*product.inputs[:2], len(graph.tensors))
            graph.tensors.append(replace(bias, shape=values.shape, data=values))
            options = product.options | {_FUSED: add.options.get(_FUSED, "none")}
            return product, replace(product, inputs=inputs, outputs=add.outputs, options=options)
    return None


def activation_into_operator(
    graph: Graph, uses: Uses, operator: Operator
) -> tuple[Operator, Operator] | None:
    """Let what comes before an activation end with it."""
    if operator.kind not in FUSED:
        return None
    before = uses.private(operator.inputs[0])
    if before is None or before.kind not in _ENDS_IN_ACTIVATION or not ends_plainly(before):
        return None
    if not _alike(graph, operator.inputs[0], operator.outputs[0]):
        return None
    options = before.options | {_FUSED: operator.kind}
    return before, replace(before, outputs=operator.outputs, options=options)


def ends_plainly(operator: Operator) -> bool:
    """Whether an operator ends without an activation."""
    return operator.options.get(_FUSED, "none") == "none"


def _alike(graph: Graph, first: int, second: int) -> bool:
    """Whether elements of two tensors stand for the same numbers."""
    a, b = graph.tensors[first], graph.tensors[second]
    same = a.quantization is b.quantization is None
    return a.dtype == b.dtype and (
        same or bool(a.quantization and a.quantization.equals(b.quantization))
    )


def _needed(graph: Graph) -> list[Operator]:
    """Return the operators that outputs depend on."""
    wanted, kept = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if wanted.intersection(operator.outputs):
            wanted.update(operator.inputs)
            kept.append(operator)
    return kept[::-1]
