# SPDX-License-Identifier: Apache-2.0
"""The operator ``torch.ops.octavo.conv2d``: its CPU kernel, fake kernel and gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from octavo import nn
from octavo.torch._ops import LIBRARY, TAGS, check_float
from octavo.torch.tensors import TensorCache, borrowed, explain

Pair = tuple[int, int]

_LAYERS: TensorCache[nn.Conv2d] = TensorCache()

LIBRARY.define(
    "conv2d(Tensor x, Tensor weight, Tensor scale, Tensor? bias, int[2] stride, int[2] padding,"
    " int[2] dilation, int groups) -> Tensor",
    tags=TAGS,
)


class Windows(NamedTuple):
    """How windows move over images, in the order in which the operator takes it."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @classmethod
    def of(cls, module: Any) -> Windows:
        """Return that of a float layer.

        Raises
        ------
        ValueError
            For padding other than as many zeros on both sides.
        """
        padding = module.padding
        if padding == "valid":
            padding = 0, 0
        elif padding == "same":
            reach = [(k - 1) * d for k, d in zip(module.kernel_size, module.dilation, strict=True)]
            padding = tuple(size // 2 for size in reach)
            if any(size % 2 for size in reach):
                raise ValueError(
                    "padding: expected as many zeros on both sides, got 'same' of an"
                    f" even window {module.kernel_size}"
                )
        if module.padding_mode != "zeros":
            raise ValueError(f"padding_mode: expected 'zeros', got {module.padding_mode!r}")
        return cls(module.stride, padding, module.dilation, module.groups)


def dequantized(codes: Tensor, scale: Tensor) -> Tensor:
    """Return the weight that codes stand for, float32."""
    return codes.float() * scale[:, None, None, None]


def layer_of(
    weight: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> nn.Conv2d:
    """Return the layer with some codes and scales, kept as long as the tensors live."""
    tensors = (weight, scale) if bias is None else (weight, scale, bias)
    options: dict[str, Any] = {"stride": tuple(stride), "padding": tuple(padding)}
    options["dilation"] = tuple(dilation)

    def make() -> nn.Conv2d:
        codes = borrowed(weight.permute(0, 2, 3, 1))
        beside = None if bias is None else borrowed(bias)
        return nn.Conv2d(codes, borrowed(scale), beside, groups=groups, **options)

    return _LAYERS.get(tensors, (*options.values(), groups), make)


@torch.library.impl(LIBRARY, "conv2d", "CPU")
def convolve(
    x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, *windows: Any
) -> Tensor:
    """Apply a layer of codes and scales to images, or to one."""
    check_float(x)
    _check_shape(x, weight, windows[-1])
    layer = layer_of(weight, scale, bias, *windows)
    images = x.detach() if x.ndim == 4 else x.detach()[None]
    lies_last = _lies_last(images)
    if not images.numel():
        return _fake(x, weight, scale, bias, *windows)
    lying = explain(images.float().permute(0, 2, 3, 1), "x").numpy()
    made = torch.from_numpy(layer(lying)).permute(0, 3, 1, 2)
    made = made if lies_last else made.contiguous()
    return (made if x.ndim == 4 else made[0]).to(x.dtype)


def _lies_last(x: Tensor) -> bool:
    """Whether the channels of images lie side by side, and those of an image's rows do not."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _check_shape(x: Tensor, weight: Tensor, groups: int) -> None:
    channels = weight.shape[1] * groups
    torch._check(
        x.ndim in (3, 4) and x.shape[-3] == channels,
        lambda: f"x: expected shape ([batch,] {channels}, height, width), got {tuple(x.shape)}",
    )


@torch.library.register_fake("octavo::conv2d", lib=LIBRARY)
def _fake(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, *windows: Any) -> Tensor:  # noqa: ARG001
    stride, padding, dilation, groups = windows
    check_float(x)
    _check_shape(x, weight, groups)
    sizes = [
        (x.shape[axis] + 2 * padding[axis] - (weight.shape[axis] - 1) * dilation[axis] - 1)
        // stride[axis]
        + 1
        for axis in (-2, -1)
    ]
    made = x.new_empty((*x.shape[:-3], weight.shape[0], *sizes))
    if x.ndim == 4 and _lies_last(x):
        made = made.contiguous(memory_format=torch.channels_last)
    return made


def _context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, weight, scale, _, *ctx.windows = inputs
    ctx.save_for_backward(weight, scale)
    ctx.shape, ctx.dtype = x.shape, x.dtype


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """Let the rounding of images pass gradients through."""
    weight = dequantized(*ctx.saved_tensors)
    shape = ctx.shape if len(ctx.shape) == 4 else (1, *ctx.shape)
    images = gradient.float().reshape(shape[0], *gradient.shape[-3:])
    dx = torch.nn.grad.conv2d_input(shape, weight, images, *ctx.windows)
    return dx.reshape(ctx.shape).to(ctx.dtype), *[None] * 7


torch.library.register_autograd("octavo::conv2d", _backward, setup_context=_context, lib=LIBRARY)
