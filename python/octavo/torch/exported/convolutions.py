# SPDX-License-Identifier: Apache-2.0
"""Convolutions of torch, and the norms behind them, as operators of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from octavo._types import Float64
from octavo.graph import Operator
from octavo.graph import Tensor as GraphTensor
from octavo.torch.exported.arithmetic import binary
from octavo.torch.exported.arrays import sliced
from octavo.torch.exported.values import Builder, Value
from octavo.torch.exported.windows import IMAGES, Axis, pair, placed


def convolution(
    b: Builder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """Convolve images, or sequences, which become images of one row."""
    if isinstance(weight, Value) or isinstance(bias, Value):
        raise ValueError("expected constant weights, got computed ones")
    if weight.ndim == 3:
        n, channels, length = b.shape(x)
        row = b.viewed(x, (n, channels, 1, length))
        made = convolution(
            *(b, row, weight[:, :, None], bias, (1, *stride), (0, *padding), (1, *dilation)),
            *(transposed, (0, *output_padding), groups),
        )
        n, channels, _, length = b.shape(made)
        return b.viewed(made, (n, channels, length))
    if weight.ndim != 4:
        raise ValueError(f"expected images or sequences, got weights of shape {[*weight.shape]}")
    if transposed:
        if groups != 1 or pair(dilation) != (1, 1):
            raise ValueError("expected a transposed convolution without groups and dilation")
        return _spread(b, x, weight, bias, pair(stride), pair(padding), pair(output_padding))
    source, axes = _with_zeros_before(b, x, weight, pair(stride), pair(padding), pair(dilation))
    image, sizes, options = placed(b, source, axes)
    options["dilation_h_factor"], options["dilation_w_factor"] = pair(dilation)
    (n, channels, *_), outputs = b.shape(x), weight.shape[0]
    kind, order = "conv_2d", IMAGES
    if groups == channels > 1:
        kind, order = "depthwise_conv_2d", (1, 2, 3, 0)
        options["depth_multiplier"] = outputs // channels
    inputs = image, b.constant(weight, order), _bias(b, outputs, bias)
    return Value(b.emit(kind, inputs, [n, *sizes, outputs], b.dtype(x), **options), IMAGES)


def _with_zeros_before(
    b: Builder,
    x: Value,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[Value, list[Axis]]:
    """Return what a convolution reads; zeros that a model puts around it become its padding."""
    ends = [(side, side) for side in padding]
    pad = b.makers.get(x.tensor)
    if pad is not None and pad.kind == "pad" and x.order == IMAGES:
        widths = b.tensors[pad.inputs[1]].data
        assert widths is not None
        if not widths[[0, 3]].any():
            x = Value(pad.inputs[0], IMAGES)
            pairs = zip(padding, widths[1:3].tolist(), strict=True)
            ends = [(side + before, side + after) for side, (before, after) in pairs]
    parts = zip(b.shape(x)[2:], weight.shape[2:], dilation, stride, ends, strict=True)
    return x, [Axis(size, (k - 1) * d + 1, step, *end) for size, k, d, step, end in parts]


def _bias(b: Builder, outputs: int, bias: Tensor | None) -> int:
    return b.constant(torch.zeros(outputs) if bias is None else bias)


def _spread(
    b: Builder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    extra: tuple[int, int],
) -> Value:
    """Spread each pixel over a window; what TensorFlow would not cut off, a slice does."""
    n, _, *sizes = b.shape(x)
    parts = [*zip(sizes, weight.shape[2:], stride, padding, extra, strict=True)]
    wanted = [(size - 1) * step + k - 2 * cut + more for size, k, step, cut, more in parts]
    axes = [
        Axis(size, k, step, cut, cut - more)
        for size, (_, k, step, cut, more) in zip(wanted, parts, strict=True)
    ]
    same = any(padding) and all(axis.is_same for axis in axes)
    full = [(size - 1) * step + k + max(more - cut, 0) for size, k, step, cut, more in parts]
    shape = [n, *(wanted if same else full), weight.shape[1]]
    inputs = (
        b.integers(shape),
        b.constant(weight, (1, 2, 3, 0)),
        b.arranged(x, IMAGES),
        _bias(b, weight.shape[1], bias),
    )
    options: dict[str, Any] = {"padding": "same" if same else "valid"}
    options |= {"stride_h": stride[0], "stride_w": stride[1], "fused_activation_function": "none"}
    made = Value(b.emit("transpose_conv", inputs, shape, b.dtype(x), **options), IMAGES)
    if not same:
        for axis, (cut, size) in enumerate(zip(padding, wanted, strict=True), start=2):
            made = sliced(b, made, axis, cut, cut + size)
    return made


def batch_norm(
    b: Builder,
    x: Value,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,  # noqa: ARG001  (of training)
    eps: float,
) -> list[Value]:
    """Scale and shift channels: by other weights of what comes before, if nothing else reads it."""
    scale = torch.rsqrt(variance.double() + eps)
    scale = scale if weight is None else scale * weight
    shift = (0 if bias is None else bias) - mean * scale
    maker = b.maker(x, ("conv_2d", "depthwise_conv_2d", "fully_connected"))
    if maker is not None and maker.options["fused_activation_function"] == "none":
        _rescale(b, maker, scale.numpy(), shift.numpy())
        return [x]
    tail = [1] * (len(b.shape(x)) - 2)
    scaled = binary(b, "mul", x, scale.float().reshape(-1, *tail))
    return [binary(b, "add", scaled, shift.float().reshape(-1, *tail))]


def _rescale(b: Builder, maker: Operator, scale: Float64, shift: Float64) -> None:
    """Give an operator the weights that scale its outputs, and the bias that shifts them."""
    weight, bias = (b.tensors[index] for index in maker.inputs[1:])
    assert weight.data is not None
    assert bias.data is not None
    tail = [] if maker.kind == "depthwise_conv_2d" else [1] * (weight.data.ndim - 1)
    scaled = weight.data * scale.reshape(-1, *tail)
    shifted = bias.data * scale + shift
    held = [
        b.add(GraphTensor(name, data.shape, np.dtype(np.float32), data.astype(np.float32)))
        for name, data in ((weight.name, scaled), (bias.name, shifted))
    ]
    maker.inputs = maker.inputs[0], *held


aten = torch.ops.aten

OPERATORS = {
    aten.convolution.default: convolution,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
}
