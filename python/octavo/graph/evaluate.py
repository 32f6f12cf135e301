# SPDX-License-Identifier: Apache-2.0
"""One operator in NumPy, on the numbers that codes stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._types import Array, Float64
from octavo.graph.kinds import KINDS, Call
from octavo.graph.kinds.elementwise import FUSED, UNARY

if TYPE_CHECKING:
    from octavo.graph.graph import Operator, Quantization, Tensor

_SMALL = (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16))
WEIGHTED = {
    "conv_2d": (0, 2),
    "depthwise_conv_2d": (0, 2),
    "fully_connected": (0, 2),
    "transpose_conv": (2, 3),
    "batch_matmul": (0, 2),
}
"""Kinds with weights as their input 1: where their values are, and where a bias may be."""


def holds_codes(tensor: Tensor) -> bool:
    """Whether the integers of a tensor stand for real numbers."""
    return tensor.quantization is not None and tensor.dtype in _SMALL


def stays_codes(
    operator: Operator, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]
) -> bool:
    """Whether an operator moves codes without a look at what they stand for."""
    kind = KINDS[operator.kind]
    if kind.codes != "moved":
        return kind.codes == "raw"
    values = inputs if not kind.values else [inputs[i] for i in kind.values]
    tensors = [one for one in (*values, *outputs) if one is not None and holds_codes(one)]
    first = tensors[0].quantization if tensors else None
    return first is None or all(first.equals(one.quantization) for one in tensors)


@in_default_mode
def evaluate(
    operator: Operator,
    call: Call,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    arrays: Sequence[Array | None],
) -> list[Array]:
    """Return the outputs of an operator, of the types of their tensors.

    Codes are dequantized, computed with in float32 and quantized again, unless they only move.
    """
    numbers = list(arrays)
    raw = stays_codes(operator, inputs, outputs)
    values = KINDS[operator.kind].values or range(len(inputs))
    if operator.kind in WEIGHTED:
        values = (*values, 1)
    for position in values if not raw else ():
        tensor, array = inputs[position], arrays[position]
        if tensor is not None and array is not None and holds_codes(tensor):
            numbers[position] = quantization_of(tensor).dequantized(array)
    if operator.kind in WEIGHTED:
        _unquantize_bias(operator.kind, inputs, numbers)
    found = KINDS[operator.kind].run(call, *numbers)
    results = []
    for tensor, result in zip(outputs, found if isinstance(found, list) else [found], strict=True):
        result = activated(result, operator.options.get("fused_activation_function", "none"))
        if holds_codes(tensor) and not raw:
            result = quantization_of(tensor).quantized(result, tensor.dtype)
        results.append(np.asarray(result).astype(tensor.dtype, copy=False))
    return results


def activated(x: Array, name: str) -> Array:
    """Return what an operator ends with: an activation of its result."""
    if name == "none":
        return x
    if name == "tanh":
        return UNARY["tanh"](x)
    return np.clip(x, *FUSED[name])


def bias_scale(x: Tensor, weight: Tensor) -> Float64:
    """Return what one step of an int32 bias is worth, for each output."""
    return quantization_of(x).scale.astype(np.float64) * quantization_of(weight).scale


def quantization_of(tensor: Tensor) -> Quantization:
    """Return the quantization of a tensor that has one."""
    assert tensor.quantization is not None
    return tensor.quantization


def _unquantize_bias(
    kind: str, inputs: Sequence[Tensor | None], numbers: list[Array | None]
) -> None:
    first, position = WEIGHTED[kind]
    x, weight = inputs[first], inputs[1]
    bias = numbers[position] if position < len(numbers) else None
    if bias is not None and bias.dtype.kind == "i" and x is not None and weight is not None:
        numbers[position] = (bias * bias_scale(x, weight)).astype(np.float32)
