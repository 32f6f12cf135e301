# SPDX-License-Identifier: Apache-2.0
"""What the int8 form of each kind of operator asks for, and which operators get it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from octavo.graph import Graph, Operator

FLOAT = np.dtype(np.float32)
INT8 = np.dtype(np.int8)


@dataclass(frozen=True)
class Rule:
    """What TensorFlow Lite's specification says of an operator in int8.

    Attributes
    ----------
    data : int
        The place of the input that weights are multiplied by, where there are weights.
    weight, axis, bias : int
        The places of weights and bias among the inputs, -1 for none, and the weight's axis of
        output channels, which have a scale each.
    output : (scale, zero point), optional
        Of the outputs, whatever their values are.
    keeps_scale : bool
        Whether all that goes in and out has the same scale and zero point.
    """

    data: int = 0
    weight: int = -1
    axis: int = 0
    bias: int = -1
    output: tuple[float, int] | None = None
    keeps_scale: bool = False


_FREE = (
    "add sub mul mean sum squared_difference prelu leaky_relu hard_swish relu relu6 relu_n1_to_1"
)
_KEEPING = (
    "reshape squeeze expand_dims transpose pad padv2 mirror_pad max_pool_2d average_pool_2d",
    "concatenation split split_v slice strided_slice gather resize_bilinear",
    "resize_nearest_neighbor depth_to_space space_to_depth space_to_batch_nd batch_to_space_nd",
    "maximum minimum reduce_max reduce_min pack unpack",
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(f"{_FREE} batch_matmul arg_max arg_min".split(), Rule()),
    **dict.fromkeys(" ".join(_KEEPING).split(), Rule(keeps_scale=True)),
    "conv_2d": Rule(weight=1, bias=2),
    "depthwise_conv_2d": Rule(weight=1, axis=3, bias=2),
    "fully_connected": Rule(weight=1, bias=2),
    "transpose_conv": Rule(data=2, weight=1, bias=3),
    "softmax": Rule(output=(1 / 256, -128)),
    "logistic": Rule(output=(1 / 256, -128)),
    "tanh": Rule(output=(1 / 128, 0)),
    "l2_normalization": Rule(output=(1 / 128, 0)),
    "log_softmax": Rule(output=(16 / 256, 127)),
}
"""Of the kinds of operators that have an int8 form."""

_CLAMPS = ("none", "relu", "relu6", "relu_n1_to_1")
"""Fused activations that an int8 operator has in the limits of its codes."""


def given(operator: Operator, place: int) -> int:
    """Return the tensor at a place of the inputs; -1 if it is left out."""
    return operator.inputs[place] if 0 <= place < len(operator.inputs) else -1


def weight_of(graph: Graph, operator: Operator) -> int:
    """Return the tensor that is an operator's constant float weight; -1 if it has none."""
    rule = RULES.get(operator.kind, Rule())
    index = given(operator, rule.weight)
    constant = index >= 0 and graph.tensors[index].data is not None
    return index if constant and graph.tensors[index].dtype == FLOAT else -1


def codes_of(graph: Graph, operator: Operator) -> list[int]:
    """Return the inputs that an operator reads as int8 besides its weight and bias."""
    rule = RULES[operator.kind]
    special = {given(operator, rule.weight), given(operator, rule.bias), -1}
    return [i for i in operator.inputs if i not in special and graph.tensors[i].dtype == FLOAT]


def float_outputs(graph: Graph, operator: Operator) -> list[int]:
    """Return the outputs of an operator that are float."""
    return [i for i in operator.outputs if graph.tensors[i].dtype == FLOAT]


def name_of(graph: Graph, operator: Operator) -> str:
    """Return what recipes and reports call an operator: the name of its first output."""
    return graph.tensors[operator.outputs[0]].name


def refusal(graph: Graph, operator: Operator) -> str | None:
    """Return why an operator has no int8 form; None if it has one."""
    rule = RULES.get(operator.kind)
    if rule is None:
        return f"{operator.kind} has no int8 form"
    activation = operator.options.get("fused_activation_function", "none")
    if activation not in _CLAMPS:
        return f"{operator.kind} with {activation} has no int8 form"
    if rule.weight >= 0 and weight_of(graph, operator) < 0:
        return "its weight is no float32 constant"
    bias = given(operator, rule.bias)
    if bias >= 0 and graph.tensors[bias].data is None:
        return "its bias is no constant"
    if not codes_of(graph, operator):
        return "it reads no float32 values"
    return None


def integer_operators(graph: Graph, kept: Iterable[str] = ()) -> set[int]:
    """Return the operators that become int8: all that can, but those whose names are kept.

    Where float values are only moved about between float operators, they stay float too.
    """
    names = set(kept)
    able = {
        index
        for index, one in enumerate(graph.operators)
        if refusal(graph, one) is None and name_of(graph, one) not in names
    }
    chosen = {i for i in able if not RULES[graph.operators[i].kind].keeps_scale}
    while True:
        made = {i for one in chosen for i in graph.operators[one].outputs}
        read = {i for one in chosen for i in graph.operators[one].inputs}
        beside = {
            index
            for index in able - chosen
            if made.intersection(graph.operators[index].inputs)
            or read.intersection(graph.operators[index].outputs)
        }
        if not beside:
            return chosen
        chosen |= beside
