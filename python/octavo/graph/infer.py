# SPDX-License-Identifier: Apache-2.0
"""Shapes of all tensors of a graph, from those of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from octavo._text import shown
from octavo._types import Array
from octavo.graph.evaluate import WEIGHTED, evaluate, holds_codes
from octavo.graph.kinds import KINDS, Call, Shape
from octavo.graph.kinds.elementwise import FUSED
from octavo.graph.order import in_order

if TYPE_CHECKING:
    from octavo.graph.graph import Graph, Operator, Tensor

MOST_AXES = 16
MOST_BYTES = 2**46
"""Of a tensor, so that sums of sizes are far from the ends of 64 bits."""

_MOST_KNOWN = 1024
"""Elements of a result that is computed to find shapes: sizes, axes, indices."""


_MOST_FOLDED, _GROWTH = 2**20, 4
"""Elements of a result that is computed once instead of in each call, and more for each one that it
is made of: a small file must not become large constants."""


class Inferred(NamedTuple):
    """What follows from the shapes of inputs.

    Attributes
    ----------
    shapes : list of tuples
        Of all tensors.
    values : dict of int to arrays
        Of the constants, and of small tensors that follow from constants and shapes.
    calls : dict of int to Call
        Of operators, as their rules take them.
    """

    shapes: list[Shape]
    values: dict[int, Array]
    calls: dict[int, Call]


def infer_shapes(graph: Graph, inputs: Mapping[int, Sequence[int]] | None = None) -> list[Shape]:
    """Return the shapes of all tensors of a graph that `Graph.check` has passed.

    Parameters
    ----------
    graph : Graph
    inputs : mapping of int to shapes, optional
        Other shapes for some of the inputs, by the indices of their tensors.

    Raises
    ------
    ValueError
        If an operator does not take such shapes, or a shape depends on values that are not known.
    """
    return inferred(graph, inputs or {}).shapes


def inferred(graph: Graph, inputs: Mapping[int, Sequence[int]], *, fold: bool = False) -> Inferred:
    """Return shapes, and values found on the way, with `fold` all but the largest."""
    shapes = [tensor.shape for tensor in graph.tensors]
    for index, shape in inputs.items():
        if index not in graph.inputs:
            raise ValueError(f"inputs: expected indices of {graph.inputs}, got {shown(index)}")
        shapes[index] = tuple(shape)
        check_size(graph.describe(index), shapes[index], graph.tensors[index])
    values = {i: one.data for i, one in enumerate(graph.tensors) if one.data is not None}
    calls = {}
    for index in in_order(graph):
        operator = graph.operators[index]
        call = _call(index, operator, shapes, values)
        ins = [graph.tensors[i] if i >= 0 else None for i in operator.inputs]
        outs = [graph.tensors[i] for i in operator.outputs]
        _check_types(call, operator, ins, outs)
        found = KINDS[operator.kind].shapes(call)
        call.need(len(found) == len(outs), f"{len(found)} outputs", len(outs))
        for output, shape in zip(operator.outputs, found, strict=True):
            check_size(f"{call.name}, its result", shape, graph.tensors[output])
            shapes[output] = shape
        calls[index] = call
        most = _MOST_FOLDED + _GROWTH * _elements(call) if fold else _MOST_KNOWN
        if _is_known(operator, call) and sum(map(math.prod, found)) <= most:
            results = evaluate(operator, call, ins, outs, call.values)
            values.update(zip(operator.outputs, results, strict=True))
    return Inferred(shapes, values, calls)


def _call(
    index: int, operator: Operator, shapes: Sequence[Shape], values: Mapping[int, Array]
) -> Call:
    return Call(
        f"operator {index} ({operator.kind})",
        operator.options,
        [shapes[i] if i >= 0 else None for i in operator.inputs],
        [values.get(i) for i in operator.inputs],
        len(operator.outputs),
    )


def _is_known(operator: Operator, call: Call) -> bool:
    if operator.kind in {"shape", "rank"}:
        return True
    return all(
        i < 0 or value is not None for i, value in zip(operator.inputs, call.values, strict=True)
    )


def _elements(call: Call) -> int:
    return sum(value.size for value in call.values if value is not None)


def check_size(name: str, shape: Sequence[int], tensor: Tensor) -> None:
    """Refuse shapes that no memory has room for."""
    fits = all(size >= 0 for size in shape) and len(shape) <= MOST_AXES
    if not fits or math.prod(shape) * tensor.dtype.itemsize > MOST_BYTES:
        raise ValueError(
            f"{name}: expected at most {MOST_AXES} sizes of at least 0, and {MOST_BYTES} bytes,"
            f" got shape {shown(tuple(shape))}"
        )


def _check_types(
    call: Call, operator: Operator, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]
) -> None:
    kind = KINDS[operator.kind]
    fused = operator.options.get("fused_activation_function", "none")
    call.need(fused in {*FUSED, "tanh"}, f"{', '.join(FUSED)} or tanh fused into it", fused)
    values = [one for i, one in enumerate(inputs) if one and (i in kind.values or not kind.values)]
    first = values[0]
    for tensor in (*values, *outputs):
        is_result = tensor not in values
        if is_result and kind.result != "same":
            wanted: tuple[str, ...] = (kind.result,) if kind.result else ()
        else:
            wanted = kind.types if tensor is first else (first.dtype.name,)
        if wanted and tensor.dtype.name not in wanted:
            raise call.error(f"expected {' or '.join(wanted)}, got {_typed(tensor)}")
        needs = kind.codes == "numbers" and tensor.dtype.name in {"int8", "uint8", "int16"}
        if needs and tensor.quantization is None:
            raise call.error(f"expected a quantization, got none: {_typed(tensor)}")
    if operator.kind in WEIGHTED:
        _, last = WEIGHTED[operator.kind]
        bias = inputs[last] if last < len(inputs) else None
        _check_weights(call, first, inputs[1], bias)
        values += [one for one in (inputs[1], bias) if one]
    kinds = "b" if operator.kind in {"select", "select_v2"} else "iu"
    for one in inputs:
        if one and one not in values and one.dtype.kind not in kinds:
            what = "bool" if kinds == "b" else "integers"
            raise call.error(f"expected {what}, got {_typed(one)}")


def _check_weights(call: Call, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Refuse weights and biases of other types than the values they meet."""
    assert weight is not None
    codes = holds_codes(x)
    both = holds_codes(weight) and (codes or (x.dtype == np.float32 and weight.dtype == np.int8))
    if not both and (codes or weight.dtype != x.dtype):
        raise call.error(
            f"expected weights of {x.dtype}, or integers with a quantization, got {_typed(weight)}"
        )
    if weight.quantization is not None and weight.quantization.scale.size > 1:
        axis = 3 if call.name.endswith("(depthwise_conv_2d)") else 0
        call.need(weight.quantization.axis == axis, f"scales along axis {axis} of weights", axis)
    if codes:
        assert x.quantization is not None
        call.need(x.quantization.scale.size == 1, "one scale for its values", _typed(x))
    if bias and bias.dtype not in ((np.int32, np.int64) if codes else (np.float32,)):
        wanted = "int32" if codes else "float32"
        raise call.error(f"expected a bias of {wanted}, got {_typed(bias)}")


def _typed(tensor: Tensor) -> str:
    return f"{tensor.dtype} (tensor {shown(tensor.name)})"
