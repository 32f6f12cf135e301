# SPDX-License-Identifier: Apache-2.0
"""The operators of sparse linear layers: their CPU kernels, fake kernels and gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from octavo.torch._ops import LIBRARY, TAGS, add_bias, apply, empty_result
from octavo.torch._sparse_weight import sparse_dequantized, sparse_layer_of
from octavo.torch._tensors import require_tensor
from octavo.torch._weight import Options

# Without bitmap and values, the scales are the memory of a layer, which has the codes.
_LINEAR = (
    "(Tensor x, Tensor? bitmap, Tensor? values, Tensor scale, Tensor? bias, SymInt in_features,"
    " bool symmetric, float? input_scale=None, int input_zero_point=0) -> Tensor"
)
# Two for the same reason as in `_ops`.
LIBRARY.define("sparse_linear" + _LINEAR, tags=TAGS)
LIBRARY.define("sparse_linear_inference" + _LINEAR, tags=TAGS)
LIBRARY.define(
    "sparse_weight(Tensor? bitmap, Tensor? values, Tensor scale, SymInt in_features) -> Tensor",
    tags=TAGS,
)


def sparse_operator(x: Tensor) -> Any:
    """Return the operator for `x`: the one with a gradient if somebody may ask for it."""
    require_tensor(x, "x")
    if x.requires_grad and torch.is_grad_enabled():
        return torch.ops.octavo.sparse_linear.default
    return torch.ops.octavo.sparse_linear_inference.default


@torch.library.impl(LIBRARY, "sparse_linear", "CPU")
@torch.library.impl(LIBRARY, "sparse_linear_inference", "CPU")
def _linear(
    x: Tensor,
    bitmap: Tensor | None,
    values: Tensor | None,
    scale: Tensor,
    bias: Tensor | None,
    in_features: int,
    symmetric: bool,
    input_scale: float | None = None,
    input_zero_point: int = 0,
) -> Tensor:
    options = Options(symmetric, input_scale, input_zero_point)
    layer, adds_bias = sparse_layer_of(bitmap, values, scale, bias, in_features, options)
    return add_bias(layer, x, bias) if adds_bias else apply(layer, x)


@torch.library.register_fake("octavo::sparse_linear", lib=LIBRARY)
@torch.library.register_fake("octavo::sparse_linear_inference", lib=LIBRARY)
def _linear_fake(
    x: Tensor,
    bitmap: Tensor | None,  # noqa: ARG001
    values: Tensor | None,  # noqa: ARG001
    scale: Tensor,
    bias: Tensor | None,  # noqa: ARG001
    in_features: int,
    symmetric: bool,  # noqa: ARG001
    input_scale: float | None = None,  # noqa: ARG001
    input_zero_point: int = 0,  # noqa: ARG001
) -> Tensor:
    return empty_result(x, scale, in_features)


@torch.library.impl(LIBRARY, "sparse_weight", "CPU")
def _weight(
    bitmap: Tensor | None, values: Tensor | None, scale: Tensor, in_features: int
) -> Tensor:
    return sparse_dequantized(bitmap, values, scale, in_features)


@torch.library.register_fake("octavo::sparse_weight", lib=LIBRARY)
def _weight_fake(
    bitmap: Tensor | None,  # noqa: ARG001
    values: Tensor | None,  # noqa: ARG001
    scale: Tensor,
    in_features: int,
) -> Tensor:
    return scale.new_empty((scale.shape[0], in_features))


def _linear_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, bitmap, values, scale, _, in_features = inputs[:6]
    ctx.save_for_backward(bitmap, values, scale)
    ctx.in_features, ctx.dtype = in_features, x.dtype


def _linear_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """Let the rounding of activations pass gradients through: dx = dy @ dequantized weight."""
    weight = torch.ops.octavo.sparse_weight.default(*ctx.saved_tensors, ctx.in_features)
    return (gradient.float() @ weight).to(ctx.dtype), *[None] * 8


torch.library.register_autograd(
    "octavo::sparse_linear", _linear_backward, setup_context=_linear_context, lib=LIBRARY
)
