# SPDX-License-Identifier: Apache-2.0
"""Fake quantization: float tensors that hold what int8 codes stand for, and gradients through it.

Forward, each operation is that of docs/numerics.md, in float32 and in its order, so codes are those
of the int8 layers. Backward, rounding passes gradients through and clipping stops them (the
straight-through estimator); gradients of scales are those of LSQ: Esser et al., Learned Step Size
Quantization, arXiv 1902.08153.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from octavo._scales import SMALLEST_SCALE

_SMALLEST = float(SMALLEST_SCALE)


def weight_scale(weight: Tensor, largest_code: int) -> Tensor:
    """Return the scale of each row, (N, K) to (N, 1), that puts its largest value at the end."""
    largest = weight.detach().abs().amax(dim=-1, keepdim=True)
    return _normal(largest / largest_code, largest == 0)


def weight_codes(weight: Tensor, scale: Tensor, largest_code: int) -> Tensor:
    """Return codes as floats: ``weight / scale``, rounded half to even and clipped."""
    return (weight / scale).round_().clamp_(-largest_code, largest_code)


def fake_weight(weight: Tensor, scale: Tensor, largest_code: int) -> Tensor:
    """Return what the codes of a weight (..., K) stand for, with scales (..., 1).

    They get the gradient of LSQ, scaled by 1 / sqrt(K * largest_code).
    """
    grid = -largest_code, largest_code
    return _FakeLearned.apply(weight, scale, grid, weight.shape[-1] * largest_code)


def fake_rows(x: Tensor, symmetric: bool) -> Tensor:
    """Return what the codes of a tensor stand for, each row quantized over its own range."""
    return _FakeRows.apply(x, symmetric)


def fake_tensor(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Return what the codes of a tensor stand for, with one scale and zero point for all of it.

    NaN stays NaN, where an int8 layer with a fixed scale would read the zero point.
    """
    grid = -128 - zero_point, 127 - zero_point
    return _FakeLearned.apply(x, scale, grid, x.shape[-1] * 127)


def tensor_grid(low: Tensor, high: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Return scale and zero point for a range that holds 0, as `octavo.quantize` chooses them."""
    if symmetric:
        largest = torch.maximum(-low, high)
        return _normal(largest / 127, largest == 0), torch.zeros_like(largest)
    scale = _range_to_scale(low, high)
    return scale, (-128 - low / scale).round().clamp(-128, 127)


def _normal(scale: Tensor, empty: Tensor) -> Tensor:
    return scale.clamp(min=_SMALLEST).masked_fill(empty, 1.0)


def _range_to_scale(low: Tensor, high: Tensor) -> Tensor:
    width = high - low
    # A range wider than float32 can say is divided before it is added up.
    scale = torch.where(torch.isinf(width), high / 255 - low / 255, width / 255)
    return _normal(scale, width == 0)


class _FakeLearned(torch.autograd.Function):
    """``x`` on the codes from a first to a last one, zero point left out, with a learned scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, grid: tuple[Any, Any], steps: int) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.grid, ctx.steps = grid, steps
        return (x / scale).round_().clamp_(*grid).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        first, last = ctx.grid
        exact = x / scale
        inside = (exact >= first) & (exact <= last)
        for_scale = None
        if ctx.needs_input_grad[1]:
            # Inside, scale * round(x / scale) changes by what rounding added; outside, by the code
            # at the end.
            change = exact.round().clamp_(first, last).sub_(exact * inside).mul_(gradient)
            for_scale = change.sum_to_size(scale.shape).mul_(1 / math.sqrt(ctx.steps))
        return gradient * inside, for_scale, None, None


class _FakeRows(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, symmetric: bool) -> Tensor:
        low, high = torch.aminmax(x, dim=-1, keepdim=True)
        low, high = low.clamp_(max=0), high.clamp_(min=0)
        if symmetric:
            largest = torch.maximum(-low, high)
            scale = _normal(largest / 127, largest == 0)
            inverse = 1 / scale
            first, last = -127, 127
        else:
            scale = _range_to_scale(low, high)
            inverse = 1 / scale
            zero_point = (-128 - low * inverse).round_().clamp_(-128, 127)
            # Codes without the zero point, which is added and taken away exactly.
            first, last = -128 - zero_point, 127 - zero_point
        result = (x * inverse).round_().clamp_(first, last).mul_(scale)
        finite = torch.isfinite(low) & torch.isfinite(high)
        return result.masked_fill_(~finite, math.nan)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # A row's own range clips nothing.
        return gradient, None
