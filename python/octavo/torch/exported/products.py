# SPDX-License-Identifier: Apache-2.0
"""Matrix products of torch, and attention, as operators of a graph."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from octavo.torch.exported.arithmetic import binary, rank_of, where
from octavo.torch.exported.arrays import transpose
from octavo.torch.exported.reductions import softmax
from octavo.torch.exported.values import Builder, Operand, Value


def linear(b: Builder, x: Operand, weight: Operand, bias: Operand | None = None) -> Value:
    """Multiply the last axis by a weight (out, in), and add a bias."""
    if not isinstance(x, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        made = matmul(b, x, _turned(b, weight))
        return made if bias is None else binary(b, "add", made, bias)
    assert isinstance(weight, Tensor)
    last = rank_of(x) - 1
    order = *(axis for axis in x.order if axis != last), last
    lies, outputs = b.arranged(x, order), weight.shape[0]
    held = torch.zeros(outputs) if bias is None else bias
    product = b.emit(
        "fully_connected",
        (lies, b.constant(weight), b.constant(held)),
        [*b.tensors[lies].shape[:-1], outputs],
        b.dtype(x),
        fused_activation_function="none",
        keep_num_dims=True,
        weights_format="default",
    )
    return Value(product, order)


def matmul(b: Builder, x: Operand, y: Operand) -> Value:
    """Multiply matrices, or batches of them."""
    if isinstance(x, Value) and isinstance(y, Tensor) and y.ndim == 2:
        return linear(b, x, y.t())
    if min(rank_of(x), rank_of(y)) < 2:
        raise ValueError("expected matrices, got a vector")
    left, turned = _matrices(b, x)
    right, adjoint = _matrices(b, y)
    batch = np.broadcast_shapes(b.shape(x)[:-2], b.shape(y)[:-2])
    shape = *batch, b.shape(x)[-2], b.shape(y)[-1]
    options = {"adj_x": turned, "adj_y": adjoint, "asymmetric_quantize_inputs": False}
    made = b.emit("batch_matmul", (left, right), shape, torch.float32, **options)
    return Value(made, tuple(range(len(shape))))


def _matrices(b: Builder, x: Operand) -> tuple[int, bool]:
    """Return the tensor of matrices, and whether they lie transposed."""
    rank = rank_of(x)
    if isinstance(x, Value) and x.order == (*range(rank - 2), rank - 1, rank - 2):
        return x.tensor, True
    assert isinstance(x, (Value, Tensor))
    return b.natural(x), False


def _turned(b: Builder, x: Operand) -> Operand:
    if isinstance(x, Value):
        return transpose(b, x, -2, -1)
    assert isinstance(x, Tensor)
    return x.transpose(-2, -1)


def addmm(
    b: Builder, bias: Operand, x: Operand, y: Operand, beta: float = 1, alpha: float = 1
) -> Value:
    """Multiply matrices and add to what is there."""
    if (beta, alpha) != (1, 1):
        raise ValueError(f"expected beta and alpha of 1, got {beta} and {alpha}")
    if isinstance(y, Tensor) and isinstance(bias, Tensor) and bias.ndim == 1:
        return linear(b, x, y.t(), bias)
    return binary(b, "add", matmul(b, x, y), bias)


def attention(
    b: Builder,
    query: Value,
    key: Value,
    value: Value,
    mask: Operand | None = None,
    dropout: float = 0.0,  # noqa: ARG001  (of training)
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """Attend: ``softmax(query @ key.T * scale + mask) @ value``."""
    if enable_gqa:
        raise ValueError("expected as many heads of keys as of queries (enable_gqa=False)")
    rows, width = b.shape(query)[-2:]
    columns = b.shape(key)[-2]
    if causal:
        mask = torch.ones(rows, columns, dtype=torch.bool).tril()
    scaled = binary(b, "mul", query, 1 / math.sqrt(width) if scale is None else scale)
    scores = matmul(b, scaled, transpose(b, key, -2, -1))
    least = torch.finfo(torch.float32).min
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(~mask, least)
    if isinstance(mask, Value) and b.dtype(mask) == np.bool_:
        scores = where(b, mask, scores, least)
    elif mask is not None:
        scores = binary(b, "add", scores, mask)
    return matmul(b, softmax("softmax", beta=1.0)(b, scores, -1), value)


aten = torch.ops.aten

OPERATORS = {
    aten.linear.default: linear,
    aten.matmul.default: matmul,
    aten.mm.default: matmul,
    aten.bmm.default: matmul,
    aten.addmm.default: addmm,
    aten.scaled_dot_product_attention.default: attention,
}
