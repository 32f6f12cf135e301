# SPDX-License-Identifier: Apache-2.0
"""Operators that move elements and compute none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from octavo._types import Array
from octavo.graph.kinds.call import ANY, MANY, NUMBERS, Call, Kind, Shape, count, viewing


def _moving(inputs: tuple[int, int], shapes: Any, run: Any, values: tuple[int, ...] = (0,)) -> Kind:
    return Kind(inputs, shapes, run, ANY, values, codes="moved")


def _reshape(call: Call, x: Array, *_: Array) -> Array:
    old = x.shape
    wanted = call.known(1) if call.has(1) else list(call.options.get("new_shape", ()))
    if wanted.count(-1) == 1 and (rest := -count(tuple(wanted))):
        wanted[wanted.index(-1)] = count(old) // rest
    fits = min(wanted, default=0) >= 0 and count(tuple(wanted)) == count(old)
    call.need(fits, f"a shape of {count(old)} elements", wanted)
    return x.reshape(wanted)


def _squeeze(call: Call, x: Array) -> Array:
    axes = [call.axis(axis, x.ndim) for axis in call.options.get("squeeze_dims", ())]
    call.need(all(x.shape[axis] == 1 for axis in axes), f"size 1 along axes {axes}", x.shape)
    ones = [axis for axis in range(x.ndim) if x.shape[axis] == 1 and (axis in axes or not axes)]
    return np.squeeze(x, tuple(ones))


def _expand_dims(call: Call, x: Array, *_: Array) -> Array:
    return np.expand_dims(x, call.axis(call.known(1)[0], x.ndim + 1))


def _transpose(call: Call, x: Array, *_: Array) -> Array:
    axes = [axis % x.ndim if x.ndim else axis for axis in call.known(1)]
    call.need(sorted(axes) == list(range(x.ndim)), f"an order of {x.ndim} axes", call.known(1))
    return x.transpose(axes)


def _slice(call: Call, x: Array, *_: Array) -> Array:
    starts, sizes = call.known(1), call.known(2)
    call.need(len(starts) == len(sizes) == x.ndim, f"{x.ndim} begins and sizes", (starts, sizes))
    ends = [
        full if wanted == -1 else start + wanted
        for start, wanted, full in zip(starts, sizes, x.shape, strict=True)
    ]
    fits = all(0 <= a <= b <= full for a, b, full in zip(starts, ends, x.shape, strict=True))
    call.need(fits, f"a part of shape {x.shape}", (starts, sizes))
    return x[tuple(map(slice, starts, ends))]


def _strided_slice(call: Call, x: Array, *_: Array) -> Array:
    begin, end, strides = (call.known(position) for position in (1, 2, 3))
    call.need(len(begin) == len(end) == len(strides), "as many ends as begins", (begin, end))
    call.need(0 not in strides, "strides other than 0", strides)
    if call.flag("offset"):
        end = [first + length for first, length in zip(begin, end, strict=True)]
    masks = {
        name: call.integer(f"{name}_mask", 0)
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    has_ellipsis = any(masks["ellipsis"] >> i & 1 for i in range(len(begin)))
    index: list[Any] = []
    for i, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        bit = {name: mask >> i & 1 for name, mask in masks.items()}
        if bit["ellipsis"]:
            index.append(Ellipsis)
        elif bit["new_axis"]:
            index.append(None)
        elif bit["shrink_axis"]:
            index.append(first)
        else:
            index.append(slice(None if bit["begin"] else first, None if bit["end"] else last, step))
    if not has_ellipsis:
        index.append(Ellipsis)
    try:
        return x[tuple(index)]
    except IndexError as error:
        raise call.error(f"expected a part of shape {x.shape} ({error})") from None


def _split(call: Call, _: Array, x: Array) -> list[Array]:
    along = call.axis(call.known(0)[0], x.ndim)
    parts = call.integer("num_splits", call.outputs, 1)
    fits = parts == call.outputs and x.shape[along] % parts == 0
    call.need(fits, f"{call.outputs} equal parts along axis {along}", (parts, x.shape))
    return np.split(x, parts, along)


def _split_v(call: Call, x: Array, *_: Array) -> list[Array]:
    along, parts = call.axis(call.known(2)[0], x.ndim), call.known(1)
    rest = x.shape[along] - sum(size for size in parts if size != -1)
    parts = [rest if size == -1 else size for size in parts]
    fits = min(parts, default=-1) >= 0 and sum(parts) == x.shape[along]
    call.need(fits, f"sizes that add up to {x.shape[along]}", call.known(1))
    return np.split(x, np.cumsum(parts)[:-1], along)


def _unpack(call: Call, x: Array) -> list[Array]:
    axis = call.axis(call.integer("axis", 0), x.ndim)
    call.need(x.shape[axis] == call.outputs, f"size {call.outputs} along axis {axis}", x.shape)
    return list(np.moveaxis(x, axis, 0))


def _reverse(call: Call, x: Array, *_: Array) -> Array:
    return np.flip(x, tuple({call.axis(axis, x.ndim) for axis in call.known(1)}))


def _broadcast_to(call: Call, x: Array, *_: Array) -> Array:
    wanted = tuple(call.known(1))
    try:
        return np.broadcast_to(x, wanted)
    except ValueError:
        raise call.error(f"expected a shape that {x.shape} spreads over, got {wanted}") from None


def _concatenation_shape(call: Call) -> list[Shape]:
    shapes = [call.shape(position) for position in range(len(call.shapes))]
    axis = call.axis(call.integer("axis", 0), len(shapes[0]))
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    same_rank = {len(shape) for shape in shapes} == {len(shapes[0])}
    call.need(same_rank and len(rests) == 1, f"shapes that differ along axis {axis}", shapes)
    total = sum(shape[axis] for shape in shapes)
    return [(*shapes[0][:axis], total, *shapes[0][axis + 1 :])]


def _concatenation(call: Call, *parts: Array) -> Array:
    return np.concatenate(parts, call.integer("axis", 0))


def _pack_shape(call: Call) -> list[Shape]:
    shapes = [call.shape(position) for position in range(len(call.shapes))]
    call.need(len(set(shapes)) == 1, "equal shapes", shapes)
    axis = call.axis(call.integer("axis", 0), len(shapes[0]) + 1)
    return [(*shapes[0][:axis], len(shapes), *shapes[0][axis:])]


def _pack(call: Call, *parts: Array) -> Array:
    return np.stack(parts, call.integer("axis", 0))


def ends_of_pad(call: Call) -> list[tuple[int, int]]:
    """Return how many elements a padding operator adds before and after, for each axis."""
    rank = len(call.shape(0))
    ends = call.known(1)
    call.need(len(ends) == 2 * rank and min(ends, default=0) >= 0, f"{rank} pairs", ends)
    return list(zip(ends[::2], ends[1::2], strict=True))


def _pad_shape(call: Call) -> list[Shape]:
    pairs = zip(call.shape(0), ends_of_pad(call), strict=True)
    return [tuple(size + before + after for size, (before, after) in pairs)]


def _pad(call: Call, x: Array, _: Array, value: Array | None = None) -> Array:
    fill = 0 if value is None else value.reshape(-1)[0]
    return np.pad(x, ends_of_pad(call), constant_values=fill)


def _mirror_pad_shape(call: Call) -> list[Shape]:
    mode = call.options.get("mode", "reflect")
    call.need(mode in {"reflect", "symmetric"}, "mode reflect or symmetric", mode)
    edge = mode == "reflect"
    for size, ends in zip(call.shape(0), ends_of_pad(call), strict=True):
        call.need(max(ends) <= max(size - edge, 0), f"at most {size - edge} mirrored", ends)
    return _pad_shape(call)


def _mirror_pad(call: Call, x: Array, *_: Array) -> Array:
    return np.pad(x, ends_of_pad(call), mode=call.options.get("mode", "reflect"))


def _gather_shape(call: Call) -> list[Shape]:
    shape, indices = call.shape(0), call.shape(1)
    axis = call.axis(call.integer("axis", 0), len(shape))
    batch = call.integer("batch_dims", 0)
    batch = batch + len(indices) if batch < 0 else batch
    fits = 0 <= batch <= min(axis, len(indices)) and shape[:batch] == indices[:batch]
    call.need(fits, "batch_dims that both inputs have", batch)
    return [(*shape[:axis], *indices[batch:], *shape[axis + 1 :])]


def _inside(call: Call, indices: Array, size: int) -> None:
    fits = indices.size == 0 or (indices.min() >= 0 and indices.max() < size)
    call.need(fits, f"indices below {size}", indices)


def _gather(call: Call, x: Array, indices: Array) -> Array:
    axis = call.axis(call.integer("axis", 0), x.ndim)
    batch = call.integer("batch_dims", 0)
    batch = batch + indices.ndim if batch < 0 else batch
    _inside(call, indices, x.shape[axis])
    if batch == 0:
        return np.take(x, indices, axis)
    lead = x.shape[:batch]
    rows = x.reshape(-1, *x.shape[batch:])
    wanted = indices.reshape(-1, *indices.shape[batch:])
    taken = [np.take(row, one, axis - batch) for row, one in zip(rows, wanted, strict=True)]
    return np.stack(taken).reshape(*lead, *taken[0].shape)


def _gather_nd_shape(call: Call) -> list[Shape]:
    shape, indices = call.shape(0), call.shape(1)
    depth = indices[-1] if indices else 0
    call.need(bool(indices) and depth <= len(shape), f"indices of at most {len(shape)}", indices)
    return [(*indices[:-1], *shape[depth:])]


def _gather_nd(call: Call, x: Array, indices: Array) -> Array:
    for axis in range(indices.shape[-1]):
        _inside(call, indices[..., axis], x.shape[axis])
    return x[tuple(np.moveaxis(indices, -1, 0))]


def _lookup_shape(call: Call) -> list[Shape]:
    table = call.shape(1)
    call.need(len(table) > 0, "a table of rows", table)
    return [(*call.shape(0), *table[1:])]


def _lookup(call: Call, indices: Array, table: Array) -> Array:
    _inside(call, indices, table.shape[0])
    return np.take(table, indices, 0)


def _tile_shape(call: Call) -> list[Shape]:
    times = call.known(1)
    fits = len(times) == len(call.shape(0)) and min(times, default=0) >= 0
    call.need(fits, "how often, for each axis", times)
    return [tuple(size * many for size, many in zip(call.shape(0), times, strict=True))]


def _fill_shape(call: Call) -> list[Shape]:
    shape = tuple(call.known(0))
    call.need(min(shape, default=0) >= 0, "a shape", shape)
    return [shape]


def _fill(call: Call, _: Array, value: Array) -> Array:
    return np.broadcast_to(value.reshape(()), call.known(0))


def _range_shape(call: Call) -> list[Shape]:
    first, limit, step = (float(call.one(position)) for position in range(3))
    call.need(step != 0 and bool(np.isfinite((first, limit, step)).all()), "a step", call.values)
    return [(max(math.ceil((limit - first) / step), 0),)]


def _range(call: Call, first: Array, _: Array, step: Array) -> Array:
    return first + np.arange(_range_shape(call)[0][0]).astype(first.dtype) * step


KINDS = {
    "reshape": viewing((1, 2), _reshape),
    "squeeze": viewing((1, 1), _squeeze),
    "expand_dims": viewing((2, 2), _expand_dims),
    "transpose": viewing((2, 2), _transpose),
    "slice": viewing((3, 3), _slice),
    "strided_slice": viewing((4, 4), _strided_slice),
    "split": viewing((2, 2), _split, (1,)),
    "split_v": viewing((3, 3), _split_v),
    "unpack": viewing((1, 1), _unpack),
    "reverse_v2": viewing((2, 2), _reverse),
    "broadcast_to": viewing((2, 2), _broadcast_to),
    "concatenation": _moving((1, MANY), _concatenation_shape, _concatenation, ()),
    "pack": _moving((1, MANY), _pack_shape, _pack, ()),
    "pad": Kind((2, 2), _pad_shape, _pad, ANY),
    "padv2": Kind((3, 3), _pad_shape, _pad, ANY, (0, 2)),
    "mirror_pad": _moving((2, 2), _mirror_pad_shape, _mirror_pad),
    "gather": _moving((2, 2), _gather_shape, _gather),
    "gather_nd": _moving((2, 2), _gather_nd_shape, _gather_nd),
    "embedding_lookup": _moving((2, 2), _lookup_shape, _lookup, (1,)),
    "tile": _moving((2, 2), _tile_shape, lambda call, x, *_: np.tile(x, call.known(1))),
    "fill": _moving((2, 2), _fill_shape, _fill, (1,)),
    "range": Kind((3, 3), _range_shape, _range, NUMBERS, (0, 1, 2)),
}
