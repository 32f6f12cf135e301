# SPDX-License-Identifier: Apache-2.0
"""Operators of torch that compute, as those of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from octavo.torch.exported.values import FUSES, Builder, Operand, Value

aten = torch.ops.aten

Lowering = Callable[..., Any]


def rank_of(x: Operand) -> int:
    """Return the number of axes."""
    return len(x.order) if isinstance(x, Value) else x.ndim if isinstance(x, Tensor) else 0


def _together(
    b: Builder, operands: Sequence[Operand], *dtypes: torch.dtype
) -> tuple[list[int], tuple[int, ...]]:
    """Return tensors of some types that broadcast as the operands do in torch, and their order."""
    rank = max(map(rank_of, operands))
    values = [x for x in operands if isinstance(x, Value)]
    # The largest of full rank stays as it lies.
    whole = max(values, key=lambda x: (rank_of(x) == rank, math.prod(b.shape(x))))
    has_all = rank_of(whole) == rank
    order = whole.order if has_all else tuple(range(rank))
    pairs = zip(operands, dtypes, strict=True)
    return [_beside(b, x, order, dtype, has_all) for x, dtype in pairs], order


def _beside(
    b: Builder, x: Operand, order: tuple[int, ...], dtype: torch.dtype, shorter: bool
) -> int:
    """Return one operand of several, with its axes in their order; `shorter` may lack the first."""
    missing = len(order) - rank_of(x)
    if isinstance(x, Value):
        x = cast(b, x, dtype)
        if shorter and order == tuple(range(len(order))):
            return b.natural(x)
        return b.arranged(b.viewed(x, (1,) * missing + b.shape(x)) if missing else x, order)
    constant = (x if isinstance(x, Tensor) else torch.tensor(x)).to(dtype)
    lying = constant.reshape([1] * missing + [*constant.shape]).permute(order)
    shape = [*lying.shape]
    while shorter and len(shape) > 1 and shape[0] == 1:
        del shape[0]
    return b.constant(constant if shape == [*constant.shape] else lying.reshape(shape))


def binary(b: Builder, kind: str, x: Operand, y: Operand, *, dtype: Any = torch.float32) -> Value:
    """Compute of two operands, spread over each other as torch does."""
    inputs, order = _together(b, (x, y), dtype, dtype)
    return _spread(b, kind, inputs, order, dtype)


def _spread(b: Builder, kind: str, inputs: list[int], order: tuple[int, ...], dtype: Any) -> Value:
    shapes = [b.tensors[tensor].shape for tensor in inputs]
    options = {"fused_activation_function": "none"} if kind in FUSES else {}
    made = b.emit(kind, inputs, np.broadcast_shapes(*shapes), dtype, **options)
    return Value(made, order)


def arithmetic(kind: str) -> Lowering:
    """Return the function of a binary operator, whose result has torch's type."""

    def run(b: Builder, x: Operand, y: Operand, alpha: float = 1, **_: Any) -> Value:
        dtype = b.result.dtype
        if alpha != 1:
            y = y * alpha if not isinstance(y, Value) else binary(b, "mul", y, alpha, dtype=dtype)
        if kind == "div" and not isinstance(y, Value) and dtype.is_floating_point:
            return binary(b, "mul", x, 1 / y, dtype=dtype)
        return binary(b, kind, x, y, dtype=dtype)

    return run


def rsub(b: Builder, x: Value, y: Operand, alpha: float = 1) -> Value:
    """Subtract the other way round."""
    return arithmetic("sub")(b, y, x, alpha)


def comparison(kind: str) -> Lowering:
    """Return the function of a comparison, which looks at the type of both."""

    def run(b: Builder, x: Operand, y: Operand) -> Value:
        dtype = torch.result_type(_sample(b, x), _sample(b, y))
        inputs, order = _together(b, (x, y), dtype, dtype)
        return _spread(b, kind, inputs, order, torch.bool)

    return run


def _sample(b: Builder, x: Operand) -> Any:
    if not isinstance(x, Value):
        return x
    return torch.empty(b.shape(x), dtype=getattr(torch, b.dtype(x).name), device="meta")


def power(b: Builder, x: Value, exponent: Operand) -> Value:
    """Raise to a power; the square is an operator of its own."""
    if exponent == 2:
        return unary("square")(b, x)
    if exponent == 0.5:
        return unary("sqrt")(b, x)
    return binary(b, "pow", x, exponent, dtype=b.result.dtype)


def unary(kind: str, *, fuses: bool = False) -> Lowering:
    """Return the function of an operator on single numbers; one that can ends another."""

    def run(b: Builder, x: Value) -> Value:
        maker = b.maker(x, FUSES) if fuses else None
        if maker is not None and maker.options["fused_activation_function"] == "none":
            maker.options["fused_activation_function"] = kind
            return x
        return Value(b.emit(kind, [x.tensor], b.tensors[x.tensor].shape, b.dtype(x)), x.order)

    return run


_ENDS: dict[tuple[float, float], str] = {
    (0, math.inf): "relu",
    (0, 6): "relu6",
    (-1, 1): "relu_n1_to_1",
}


def clamp(b: Builder, x: Value, low: float | None = None, high: float | None = None) -> Value:
    """Keep numbers within ends."""
    ends = -math.inf if low is None else low, math.inf if high is None else high
    if ends in _ENDS:
        return unary(_ENDS[ends], fuses=True)(b, x)
    for kind, end in zip(("maximum", "minimum"), ends, strict=True):
        if math.isfinite(end):
            x = binary(b, kind, x, end, dtype=b.result.dtype)
    return x


def hard_tanh(b: Builder, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    """Keep numbers within ends, which torch has defaults for."""
    return clamp(b, x, low, high)


def elu(b: Builder, x: Value, *scales: float) -> Value:
    """Return the exponential unit, with torch's scales of 1."""
    if any(scale != 1 for scale in scales):
        raise ValueError(f"expected scales of 1, got {scales}")
    return unary("elu")(b, x)


def hard_sigmoid(b: Builder, x: Value) -> Value:
    """Return ``relu6(x + 3) / 6``."""
    moved = binary(b, "add", x, 3.0)
    b.makers[moved.tensor].options["fused_activation_function"] = "relu6"
    return binary(b, "mul", moved, 1 / 6)


def silu(b: Builder, x: Value) -> Value:
    """Return ``x * sigmoid(x)``."""
    return binary(b, "mul", x, unary("logistic")(b, x))


def gelu(b: Builder, x: Value, approximate: str = "none") -> Value:
    """Return the Gaussian unit, or its form with tanh."""
    options = {"approximate": approximate == "tanh"}
    return Value(
        b.emit("gelu", [x.tensor], b.tensors[x.tensor].shape, b.dtype(x), **options), x.order
    )


def leaky_relu(b: Builder, x: Value, slope: float = 0.01) -> Value:
    """Scale what is below 0."""
    shape = b.tensors[x.tensor].shape
    return Value(b.emit("leaky_relu", [x.tensor], shape, b.dtype(x), alpha=slope), x.order)


def prelu(b: Builder, x: Value, slope: Tensor) -> Value:
    """Scale what is below 0, channels by numbers of their own."""
    rank = len(x.order)
    place = x.order.index(1) if rank > 1 else 0
    shape = [1] * max(rank - 1, 1)
    shape[max(place - 1, 0)] = slope.numel()
    inputs = x.tensor, b.constant(slope.reshape(shape))
    return Value(b.emit("prelu", inputs, b.tensors[x.tensor].shape, b.dtype(x)), x.order)


def cast(b: Builder, x: Value, dtype: torch.dtype | None = None, *_: Any, **__: Any) -> Value:
    """Turn elements to another type."""
    lying = b.tensors[x.tensor]
    if dtype is None or lying.dtype.name == str(dtype).removeprefix("torch."):
        return x
    return Value(b.emit("cast", [x.tensor], lying.shape, dtype), x.order)


def where(b: Builder, condition: Operand, x: Operand, y: Operand) -> Value:
    """Choose between two by a mask."""
    dtype = b.result.dtype
    inputs, order = _together(b, (condition, x, y), torch.bool, dtype, dtype)
    return _spread(b, "select_v2", inputs, order, dtype)


def logical(kind: str) -> Lowering:
    """Return the function of an operator on masks."""

    def run(b: Builder, x: Value, y: Operand | None = None) -> Value:
        if b.result.dtype != torch.bool:
            raise ValueError(f"expected masks, got {b.result.dtype}")
        if y is None:
            return unary(kind)(b, cast(b, x, torch.bool))
        return binary(b, kind, x, y, dtype=torch.bool)

    return run


def _both(names: dict[str, Lowering]) -> dict[Any, Lowering]:
    """Return functions of operators that take a tensor or a number."""
    return {
        getattr(getattr(aten, name), overload): lowering
        for name, lowering in names.items()
        for overload in ("Tensor", "Scalar")
    }


OPERATORS = {
    **_both({name: arithmetic(name) for name in ("add", "sub", "mul", "div")}),
    **_both(
        {
            "eq": comparison("equal"),
            "ne": comparison("not_equal"),
            "lt": comparison("less"),
            "le": comparison("less_equal"),
            "gt": comparison("greater"),
            "ge": comparison("greater_equal"),
            "rsub": rsub,
        }
    ),
    **{
        getattr(aten, name).default: unary(name)
        for name in ("abs", "neg", "floor", "ceil", "round", "sqrt", "rsqrt", "exp", "log")
    },
    **{getattr(aten, name).default: unary(name) for name in ("sin", "cos", "tanh")},
    aten.sigmoid.default: unary("logistic"),
    aten.square.default: unary("square"),
    aten.relu.default: unary("relu", fuses=True),
    aten.relu6.default: unary("relu6", fuses=True),
    aten.hardswish.default: unary("hard_swish"),
    aten.elu.default: elu,
    aten.clamp.default: clamp,
    aten.hardtanh.default: hard_tanh,
    aten.hardsigmoid.default: hard_sigmoid,
    aten.silu.default: silu,
    aten.gelu.default: gelu,
    aten.leaky_relu.default: leaky_relu,
    aten.prelu.default: prelu,
    aten.maximum.default: arithmetic("maximum"),
    aten.minimum.default: arithmetic("minimum"),
    aten.pow.Tensor_Scalar: power,
    aten.pow.Tensor_Tensor: power,
    aten._to_copy.default: cast,
    aten.where.self: where,
    aten.where.ScalarOther: where,
    aten.bitwise_and.Tensor: logical("logical_and"),
    aten.bitwise_or.Tensor: logical("logical_or"),
    aten.bitwise_not.default: logical("logical_not"),
    aten.logical_and.default: logical("logical_and"),
    aten.logical_or.default: logical("logical_or"),
    aten.logical_not.default: logical("logical_not"),
}
