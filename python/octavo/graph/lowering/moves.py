# SPDX-License-Identifier: Apache-2.0
"""What moves elements, as copies; and images made larger or smaller."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import as_strided

from octavo._types import Array
from octavo.graph.evaluate import holds_codes, quantization_of
from octavo.graph.graph import Tensor
from octavo.graph.kinds import KINDS
from octavo.graph.kinds.moves import ends_of_pad
from octavo.graph.steps import F32, S8, Op, Part, Steps, alike, zero_of


def _strides(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the strides in bytes of a contiguous array."""
    return tuple(size * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _alias(steps: Steps, op: Op) -> bool:
    return op.keeps_codes() and steps.alias(op)


def _view(steps: Steps, op: Op) -> bool:
    """Write down copies out of views of the input."""
    values = KINDS[op.operator.kind].values[0]
    x = op.x(values)
    if not op.keeps_codes():
        return False
    # Only its address and its strides are looked at.
    memory = np.zeros(1, x.dtype)
    whole = as_strided(memory, x.shape, _strides(x.shape, x.dtype.itemsize))
    arrays = [whole if i == values else op.data(i) for i in range(len(op.inputs))]
    found = KINDS[op.operator.kind].run(op.call, *arrays)
    source = steps.at(op.operator.inputs[values])
    views: list[Array] = found if isinstance(found, list) else [found]
    if any(stride < 0 for view in views for stride in view.strides):
        return False
    for index, view in zip(op.operator.outputs, views, strict=True):
        begin = view.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
        size = x.dtype.itemsize
        strides = _strides(view.shape, size)
        part = Part(source.buffer, begin)
        steps.copy(part, steps.at(index), view.shape, view.strides, strides, size)
    return True


def _join(steps: Steps, op: Op) -> bool:
    """Write down copies of all inputs, each into its place along an axis."""
    shape, size = op.out.shape, op.out.dtype.itemsize
    axis = op.call.integer("axis", 0) % len(shape)
    if op.operator.options.get("fused_activation_function", "none") != "none":
        return False
    outer, total = math.prod(shape[:axis]), math.prod(shape[axis:]) * size
    out, offset = steps.at(op.operator.outputs[0]), 0
    for position, index in enumerate(op.operator.inputs):
        part = _requantized(steps, op.x(position), steps.at(index), op.out)
        inner = math.prod(op.x(position).shape) * size // outer
        steps.copy(part, Part(out.buffer, offset), (outer,), (inner,), (total,), inner)
        offset += inner
    return True


def _requantized(steps: Steps, x: Tensor, part: Part, out: Tensor) -> Part:
    """Return a place with the codes of a tensor as those of another stand for them."""
    if not holds_codes(x) or quantization_of(x).equals(out.quantization):
        return part
    codes = np.arange(-128, 128).astype(np.int8)
    table = quantization_of(out).quantized(quantization_of(x).dequantized(codes), out.dtype)
    count = math.prod(x.shape)
    moved = steps.room(count)
    steps.add("add_lookup", x=part, out=moved, count=count, table=table)
    return moved


def _pad(steps: Steps, op: Op) -> bool:
    x, out, value = op.x(), op.out, op.data(2)
    if not alike(x, out) or (len(op.inputs) == 3 and value is None):
        return False
    if value is not None and not alike(op.x(2), out):
        return False
    target, size = steps.at(op.operator.outputs[0]), x.dtype.itemsize
    fill = zero_of(out) if value is None else value.reshape(-1)
    steps.add("add_fill", out=target, count=math.prod(out.shape), value=fill)
    strides = _strides(out.shape, size)
    begin = sum(
        before * step for (before, _), step in zip(ends_of_pad(op.call), strides, strict=True)
    )
    source, inner = steps.at(op.operator.inputs[0]), _strides(x.shape, size)
    steps.copy(source, Part(target.buffer, begin), x.shape, inner, strides, size)
    return True


def _resize(steps: Steps, op: Op) -> bool:
    name = {F32: "add_resize_f32", S8: "add_resize"}.get(op.out.dtype)
    if name is None or not alike(op.x(), op.out):
        return False
    steps.add(
        name,
        **steps.ends(op),
        shape=op.x().shape,
        size=op.out.shape[1:3],
        method=op.operator.kind.split("_")[1],
        align_corners=op.call.flag("align_corners"),
        half_pixel_centers=op.call.flag("half_pixel_centers"),
    )
    return True


LOWERINGS: dict[str, Callable[[Steps, Op], bool]] = {
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _alias),
    **dict.fromkeys(
        ("transpose", "slice", "strided_slice", "split", "split_v", "unpack", "broadcast_to"), _view
    ),
    **dict.fromkeys(("concatenation", "pack"), _join),
    **dict.fromkeys(("pad", "padv2"), _pad),
    **dict.fromkeys(("resize_bilinear", "resize_nearest_neighbor"), _resize),
}
