# SPDX-License-Identifier: Apache-2.0
"""What goes element by element, or row by row, as steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from octavo._scales import sum_multiplier
from octavo._types import Array, Float32
from octavo.graph.evaluate import activated, quantization_of
from octavo.graph.kinds import KINDS, Shape
from octavo.graph.kinds.elementwise import FUSED, UNARY
from octavo.graph.steps import F32, S8, Op, Steps, scale_of

Lowering = Callable[[Steps, Op], bool]

_CODES = np.arange(-128, 128)
_LEAST_ROW = 64
_LARGEST_RATIO = 1e28
_ACTIVATIONS = ("tanh", "gelu", "hard_swish", "logistic")


def table_of(op: Op, varying: int = 0) -> Array:
    """Return the code of the result for each code of one input, the others being constant."""
    numbers = []
    for position, tensor in enumerate(op.inputs):
        assert tensor is not None
        codes = _CODES if position == varying else tensor.data
        assert codes is not None
        scale, zero_point = scale_of(tensor)
        numbers.append((codes.reshape(-1) - np.float64(zero_point)) * np.float64(scale))
    values = KINDS[op.operator.kind].run(op.call, *numbers)
    values = activated(values, op.operator.options.get("fused_activation_function", "none"))
    scale, zero_point = scale_of(op.out)
    codes = np.rint(values / np.float64(scale)) + zero_point
    return np.nan_to_num(codes, nan=zero_point).clip(-128, 127).astype(np.int8)


def lookup(steps: Steps, op: Op, varying: int = 0) -> bool:
    """Write a function of one code down."""
    steps.add(
        "add_lookup",
        x=steps.at(op.operator.inputs[varying]),
        out=steps.at(op.operator.outputs[0]),
        count=math.prod(op.out.shape),
        table=table_of(op, varying),
        in_place=True,
    )
    return True


def _unary(steps: Steps, op: Op) -> bool:
    if op.has(S8, 0):
        return lookup(steps, op)
    kind = op.operator.kind
    if not op.has(F32, 0) or kind not in {*FUSED, *_ACTIVATIONS}:
        return False
    low, high = FUSED.get(kind, FUSED["none"])
    name = "none" if kind in FUSED else kind
    if kind == "gelu" and op.call.flag("approximate"):
        name = "gelu_tanh"
    count = math.prod(op.out.shape)
    steps.add(
        "add_activation_f32",
        **steps.ends(op),
        count=count,
        name=name,
        low=low,
        high=high,
        in_place=True,
    )
    return True


def _leaky_relu(steps: Steps, op: Op) -> bool:
    if op.has(S8, 0):
        return lookup(steps, op)
    alpha = np.float32(op.operator.options.get("alpha", 0.0))
    return op.has(F32, 0) and _slope(steps, op, np.full(row_of(op.out.shape), alpha))


def _prelu(steps: Steps, op: Op) -> bool:
    alpha, shape = op.data(1), op.out.shape
    if alpha is None or op.x().shape != shape or alpha.size not in {1, *shape[-1:]}:
        return False
    if alpha.size > 1 and alpha.shape[-1] != shape[-1]:
        return False
    width = shape[-1] if alpha.size > 1 else row_of(shape)
    alpha = np.broadcast_to(alpha.reshape(-1), width)
    if op.has(F32, 0):
        return _slope(steps, op, alpha)
    if not op.has(S8, 0, 1):
        return False
    (scale, zero_point), (by, alpha_zero_point) = scale_of(op.x()), scale_of(op.x(1))
    out_scale, out_zero_point = scale_of(op.out)
    steps.add(
        "add_prelu",
        **steps.ends(op),
        shape=(math.prod(shape) // width, width),
        alpha=alpha,
        multiplier=ratio(out_scale, scale),
        negative_multiplier=ratio(out_scale, scale, by),
        zero_point=zero_point,
        alpha_zero_point=alpha_zero_point,
        out_zero_point=out_zero_point,
        in_place=True,
    )
    return True


def _slope(steps: Steps, op: Op, alpha: Array) -> bool:
    shape = (math.prod(op.out.shape) // alpha.size, alpha.size)
    steps.add("add_prelu_f32", **steps.ends(op), shape=shape, alpha=alpha, in_place=True)
    return True


def ratio(out_scale: float, *scales: float) -> float:
    """Return the multiplier of a step that changes a scale, or multiplies two; see `ratios`."""
    return float(ratios(out_scale, *scales))


def ratios(out_scale: float, *scales: Array | float) -> Float32:
    """Return the multipliers of a step whose sums have the product of some scales.

    Sums of codes times those that are refused could be infinite, and their differences NaN.
    """
    found = sum_multiplier(out_scale, *scales)
    if (found > _LARGEST_RATIO).any():
        raise ValueError(
            f"expected scales up to {_LARGEST_RATIO} times the result's, {out_scale}, got more"
        )
    return found


def row_of(shape: Shape) -> int:
    """Return how many of the last elements make rows that are worth a step's while."""
    width = 1
    for size in reversed(shape):
        if width >= _LEAST_ROW:
            break
        width *= size
    return width


def _quantize(steps: Steps, op: Op) -> bool:
    if op.x().dtype == S8 and op.has(S8, 0):
        same = quantization_of(op.x()).equals(op.out.quantization)
        return steps.alias(op) if same else lookup(steps, op)
    if op.x().dtype != F32 or not op.has(S8):
        return False
    scale, zero_point = scale_of(op.out)
    count = math.prod(op.out.shape)
    steps.add("add_quantize", **steps.ends(op), count=count, scale=scale, zero_point=zero_point)
    return True


def _dequantize(steps: Steps, op: Op) -> bool:
    if op.x().dtype != S8 or quantization_of(op.x()).scale.size > 1:
        return False
    scale, zero_point = scale_of(op.x())
    count = math.prod(op.out.shape)
    steps.add("add_dequantize", **steps.ends(op), count=count, scale=scale, zero_point=zero_point)
    return True


def _softmax(steps: Steps, op: Op) -> bool:
    width, beta = op.out.shape[-1], float(op.operator.options.get("beta", 1.0))
    shape = (math.prod(op.out.shape) // width, width)
    if op.has(S8, 0):
        codes = op.scales()
        codes["scale"] *= beta
        steps.add("add_softmax", **steps.ends(op), shape=shape, **codes)
        return beta > 0
    if not op.has(F32, 0) or beta != 1:
        return False
    steps.add("add_softmax_f32", **steps.ends(op), shape=shape)
    return True


LOWERINGS: dict[str, Callable[[Steps, Op], bool]] = {
    **dict.fromkeys(UNARY, _unary),
    "gelu": _unary,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "softmax": _softmax,
}
