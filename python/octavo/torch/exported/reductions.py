# SPDX-License-Identifier: Apache-2.0
"""Operators of torch along axes, sums and norms, as those of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from octavo.torch.exported.arithmetic import binary, cast, unary
from octavo.torch.exported.values import Builder, Operand, Value

aten = torch.ops.aten

Lowering = Callable[..., Any]


def softmax(kind: str, **options: Any) -> Lowering:
    """Return the function of a softmax, which a graph has along the last axis."""

    def run(b: Builder, x: Value, dim: int, half: Any = None) -> Value:  # noqa: ARG001
        dim %= len(x.order)
        order = (*(axis for axis in x.order if axis != dim), dim)
        lies = b.arranged(x, order)
        return Value(b.emit(kind, [lies], b.tensors[lies].shape, b.dtype(x), **options), order)

    return run


def reduced(
    b: Builder, kind: str, x: Value, dims: Iterable[int] | int | None, keepdim: bool = False
) -> Value:
    """Make one element of all along some axes."""
    rank = len(x.order)
    dims = [dims] if isinstance(dims, int) else dims
    axes = {dim % rank for dim in dims or range(rank)}
    places = sorted(x.order.index(axis) for axis in axes)
    lying = [1 if i in places else size for i, size in enumerate(b.tensors[x.tensor].shape)]
    kept = [axis for axis in x.order if axis not in axes]
    order = x.order if keepdim else tuple(sorted(kept).index(axis) for axis in kept)
    shape = lying if keepdim else [size for i, size in enumerate(lying) if i not in places]
    inputs = x.tensor, b.integers(places)
    return Value(b.emit(kind, inputs, shape, b.dtype(x), keep_dims=keepdim), order)


def mean(
    b: Builder, x: Value, dims: Iterable[int] | None = None, keepdim: bool = False, **_: Any
) -> Value:
    """Average along axes."""
    return reduced(b, "mean", x, dims, keepdim)


def reduction(kind: str) -> Lowering:
    """Return the function of a reduction."""

    def run(
        b: Builder, x: Value, dims: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> Value:
        return reduced(b, kind, cast(b, x, dtype), dims, keepdim)

    return run


def arg_max(b: Builder, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """Return where the largest element along an axis is, the first of several."""
    if dim is None:
        raise ValueError("expected an axis, got none")
    at = x.order.index(dim % len(x.order))
    lying, order = list(b.tensors[x.tensor].shape), list(x.order)
    del lying[at], order[at]
    made = b.emit("arg_max", (x.tensor, b.integers([at])), lying, torch.int64)
    value = Value(made, tuple(sorted(order).index(axis) for axis in order))
    return b.viewed(value, b.result.shape) if keepdim else value


def variance(
    b: Builder, x: Value, dims: Any = None, correction: float | None = 1, keepdim: bool = False
) -> Value:
    """Return the mean of squares of what differs from the mean, for another count."""
    rank = len(x.order)
    axes = [dim % rank for dim in dims or range(rank)]
    count = math.prod(b.shape(x)[axis] for axis in axes)
    centered = binary(b, "sub", x, mean(b, x, axes, keepdim=True))
    made = mean(b, unary("square")(b, centered), axes, keepdim)
    less = 1 if correction is None else correction
    return made if less == 0 else binary(b, "mul", made, count / (count - less))


def _normalized(b: Builder, x: Value, axes: Sequence[int], eps: float) -> Value:
    centered = binary(b, "sub", x, mean(b, x, axes, keepdim=True))
    squares = mean(b, unary("square")(b, centered), axes, keepdim=True)
    return binary(b, "mul", centered, unary("rsqrt")(b, binary(b, "add", squares, eps)))


def layer_norm(
    b: Builder,
    x: Value,
    shape: Sequence[int],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
    fast: bool = False,  # noqa: ARG001  (of other devices)
) -> Value:
    """Normalize the last axes."""
    rank = len(x.order)
    made = _normalized(b, x, range(rank - len(shape), rank), eps)
    return _affine(b, made, weight, bias)


def group_norm(
    b: Builder,
    x: Value,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    fast: bool = False,  # noqa: ARG001  (of other devices)
) -> Value:
    """Normalize groups of channels."""
    n, channels, *rest = b.shape(x)
    split = b.viewed(x, [n, groups, channels // groups, *rest])
    made = b.viewed(_normalized(b, split, range(2, 3 + len(rest)), eps), [n, channels, *rest])
    tail = [-1, *[1] * len(rest)]
    return _affine(b, made, *(one if one is None else one.reshape(tail) for one in (weight, bias)))


def _affine(b: Builder, x: Value, weight: Operand | None, bias: Operand | None) -> Value:
    if weight is not None:
        x = binary(b, "mul", x, weight)
    return x if bias is None else binary(b, "add", x, bias)


OPERATORS = {
    aten._softmax.default: softmax("softmax", beta=1.0),
    aten._log_softmax.default: softmax("log_softmax"),
    aten.mean.default: mean,
    aten.mean.dim: mean,
    aten.sum.default: reduction("sum"),
    aten.sum.dim_IntList: reduction("sum"),
    aten.amax.default: reduction("reduce_max"),
    aten.amin.default: reduction("reduce_min"),
    aten.var.correction: variance,
    aten.argmax.default: arg_max,
    aten.layer_norm.default: layer_norm,
    aten.group_norm.default: group_norm,
}
