# SPDX-License-Identifier: Apache-2.0
"""Pooling and resizing of images in torch, as operators of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from octavo.torch.exported.arithmetic import binary
from octavo.torch.exported.reductions import mean
from octavo.torch.exported.values import Builder, Value
from octavo.torch.exported.windows import IMAGES, Axis, pair, placed

aten = torch.ops.aten


def _pool_axes(
    b: Builder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> list[Axis]:
    if len(b.shape(x)) != 4:
        raise ValueError(f"expected images with four axes, got shape {[*b.shape(x)]}")
    if pair(dilation) != (1, 1):
        raise ValueError(f"expected no dilation, got {[*dilation]}")
    axes = []
    steps = pair(stride or kernel)
    for size, k, step, side in zip(b.shape(x)[2:], pair(kernel), steps, pair(padding), strict=True):
        axis = Axis(size, k, step, side, side)
        missing = -(size + 2 * side - k) % step
        # A last window that is cut off counts if it begins in the image, or before it.
        if ceil_mode and missing and axis.outputs * step < size + side:
            axis = axis._replace(after=side + missing)
        axes.append(axis)
    return axes


def _pool(b: Builder, x: Value, kind: str, axes: list[Axis], **placing: Any) -> Value:
    image, sizes, options = placed(b, x, axes, **placing)
    options |= {"filter_height": axes[0].extent, "filter_width": axes[1].extent}
    n, channels, *_ = b.shape(x)
    return Value(b.emit(kind, [image], [n, *sizes, channels], b.dtype(x), **options), IMAGES)


def max_pool(
    b: Builder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Value:
    """Take the largest of each window; around what is never below 0 there can be zeros."""
    maker = b.makers.get(x.tensor)
    ends = {} if maker is None else maker.options
    positive = maker is not None and (
        maker.kind in {"relu", "relu6"}
        or ends.get("fused_activation_function") in {"relu", "relu6"}
    )
    fill = 0.0 if positive else float(np.finfo(np.float32).min)
    axes = _pool_axes(b, x, kernel, stride, padding, dilation, ceil_mode)
    return _pool(b, x, "max_pool_2d", axes, fill=fill)


def average_pool(
    b: Builder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """Average each window; a constant mends what torch divides by another count."""
    axes = _pool_axes(b, x, kernel, stride, padding, (1,), ceil_mode)
    ones = torch.ones(1, 1, *(axis.size for axis in axes))
    steps = pair(stride or kernel)
    wanted = functional.avg_pool2d(
        ones, kernel, steps, padding, ceil_mode, count_include_pad, divisor_override
    )
    same = divisor_override is None and bool((wanted - 1).abs().max() < 1e-6)
    made = _pool(b, x, "average_pool_2d", axes, same=same)
    if b.makers[made.tensor].options["padding"] == "same":
        return made
    ends = [end for axis in axes[::-1] for end in (axis.before, axis.after)]
    got = functional.avg_pool2d(functional.pad(ones, ends), kernel, steps)
    ratio = wanted / got
    return made if bool((ratio == 1).all()) else binary(b, "mul", made, ratio)


def adaptive_pool(kind: str) -> Any:
    """Return the function that pools to a size."""

    def pool(b: Builder, x: Value, size: Sequence[int]) -> Value:
        sizes = b.shape(x)[-len(size) :]
        if kind == "average_pool_2d" and {*size} == {1}:
            rank = len(b.shape(x))
            return mean(b, x, range(rank - len(size), rank), keepdim=True)
        if len(size) != 2 or any(old % new for old, new in zip(sizes, size, strict=True)):
            raise ValueError(f"expected sizes that divide {[*sizes]}, got {[*size]}")
        axes = [
            Axis(old, old // new, old // new, 0, 0) for old, new in zip(sizes, size, strict=True)
        ]
        return _pool(b, x, kind, axes)

    return pool


def adaptive_max_pool(b: Builder, x: Value, size: Sequence[int]) -> list[Value]:
    """Return the largest of each window, as torch does in front of where they are."""
    return [adaptive_pool("max_pool_2d")(b, x, size)]


def resize(kind: str, *, centers: bool = False) -> Any:
    """Return the function that resizes images."""

    def run(b: Builder, x: Value, _: Any, *rest: Any) -> Value:
        *corners, factors = rest
        n, channels, *old = b.shape(x)
        new = [*b.result.shape[2:]]
        if len(new) != 2:
            raise ValueError(f"expected images with four axes, got shape {[*b.shape(x)]}")
        if factors and any(o * f != s for o, f, s in zip(old, factors, new, strict=True)):
            raise ValueError(f"expected factors that give whole sizes of {old}, got {factors}")
        aligned = bool(corners and corners[0])
        options = {"align_corners": aligned, "half_pixel_centers": (centers and not aligned)}
        inputs = b.arranged(x, IMAGES), b.integers(new)
        return Value(b.emit(kind, inputs, [n, *new, channels], b.dtype(x), **options), IMAGES)

    return run


OPERATORS = {
    aten.max_pool2d.default: max_pool,
    aten.avg_pool2d.default: average_pool,
    aten.adaptive_avg_pool1d.default: adaptive_pool("average_pool_2d"),
    aten.adaptive_avg_pool2d.default: adaptive_pool("average_pool_2d"),
    aten.adaptive_max_pool2d.default: adaptive_max_pool,
    aten.upsample_nearest2d.vec: resize("resize_nearest_neighbor"),
    aten._upsample_nearest_exact2d.vec: resize("resize_nearest_neighbor", centers=True),
    aten.upsample_bilinear2d.vec: resize("resize_bilinear", centers=True),
}
