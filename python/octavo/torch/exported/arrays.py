# SPDX-License-Identifier: Apache-2.0
"""Operators of torch that move elements, as those of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from octavo.torch.exported.values import Builder, Operand, Value

Dims = Sequence[int]


def _shaped(b: Builder, x: Value, *_: Any) -> Value:
    """Return `x` in the shape that torch says the node's result has."""
    return b.viewed(x, b.result.shape)


def permute(_: Builder, x: Value, dims: Dims) -> Value:
    """Permute axes: only what is known of them changes."""
    rank = len(x.order)
    before = [dim % rank for dim in dims]
    return Value(x.tensor, tuple(before.index(axis) for axis in x.order))


def transpose(b: Builder, x: Value, first: int, second: int) -> Value:
    """Swap two axes."""
    dims = [*range(len(x.order))]
    dims[first], dims[second] = dims[second], dims[first]
    return permute(b, x, dims)


def expand(b: Builder, x: Value, *_: Any, **__: Any) -> Value:
    """Repeat axes of one element, and add some in front."""
    shape = [*b.result.shape]
    if [*b.shape(x)] == shape:
        return x
    inputs = b.natural(x), b.integers(shape)
    return _own(b, b.emit("broadcast_to", inputs, shape, b.dtype(x)), shape)


def repeat(b: Builder, x: Value, times: Dims) -> Value:
    """Repeat a tensor along its axes, and along new ones in front."""
    shape = [1] * (len(times) - len(x.order)) + [*b.shape(x)]
    inputs = b.natural(b.viewed(x, shape)), b.integers(times)
    return _own(b, b.emit("tile", inputs, b.result.shape, b.dtype(x)), shape)


def sliced(
    b: Builder,
    x: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    """Cut along an axis, which may count from the end as the ends may."""
    shape = [*b.shape(x)]
    dim %= len(shape)
    first, last, _ = slice(start, end).indices(shape[dim])
    size = max(0, -(-(last - first) // step))
    if size == shape[dim]:
        return x
    at = x.order.index(dim)
    lying = [*b.tensors[x.tensor].shape]
    if step == 1:
        begins, sizes = [0] * len(lying), [-1] * len(lying)
        begins[at], sizes[at] = first, size
        inputs = [x.tensor, b.integers(begins), b.integers(sizes)]
        kind, options = "slice", {}
    else:
        begins, ends, steps = [0] * len(lying), [*lying], [1] * len(lying)
        begins[at], ends[at], steps[at] = first, last, step
        inputs = [x.tensor, *map(b.integers, (begins, ends, steps))]
        kind, options = "strided_slice", _masks(len(lying), at)
    lying[at] = size
    return Value(b.emit(kind, inputs, lying, b.dtype(x), **options), x.order)


def _masks(rank: int, at: int) -> dict[str, int]:
    """Return the options of a slice with steps that takes all axes but one whole."""
    whole = (1 << rank) - 1 & ~(1 << at)
    others = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    return {"begin_mask": whole, "end_mask": whole, **dict.fromkeys(others, 0)}


def select(b: Builder, x: Value, dim: int, index: int) -> Value:
    """Take one element of an axis, which goes."""
    index %= b.shape(x)[dim]
    return b.viewed(sliced(b, x, dim, index, index + 1), b.result.shape)


def split(b: Builder, x: Value, sizes: int | Dims, dim: int = 0) -> list[Value]:
    """Cut an axis into parts."""
    total = b.shape(x)[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return [sliced(b, x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


def unbind(b: Builder, x: Value, dim: int = 0) -> list[Value]:
    """Take the elements of an axis apart."""
    shape = [*b.shape(x)]
    dim %= len(shape)
    rest = shape[:dim] + shape[dim + 1 :]
    return [b.viewed(part, rest) for part in split(b, x, 1, dim)]


def concatenate(b: Builder, parts: Sequence[Operand], dim: int = 0) -> Value:
    """Put tensors side by side."""
    order = next(part for part in parts if isinstance(part, Value)).order
    dim %= len(order)
    inputs = [b.arranged(part, order) for part in parts]
    shape = [b.result.shape[axis] for axis in order]
    options = {"axis": order.index(dim), "fused_activation_function": "none"}
    return Value(
        b.emit("concatenation", inputs, shape, b.tensors[inputs[0]].dtype, **options), order
    )


def stack(b: Builder, parts: Sequence[Operand], dim: int = 0) -> Value:
    """Put tensors side by side along a new axis."""
    inputs = [b.natural(part) for part in parts]
    shape = [*b.result.shape]
    options = {"axis": dim % len(shape), "values_count": len(inputs)}
    return _own(b, b.emit("pack", inputs, shape, b.tensors[inputs[0]].dtype, **options), shape)


def padded(b: Builder, x: Value, ends: Sequence[tuple[int, int]], fill: float = 0.0) -> Value:
    """Put a number around a tensor: how many before and after, for each axis."""
    lying = [ends[axis] for axis in x.order]
    sizes = b.tensors[x.tensor].shape
    shape = [size + sum(end) for size, end in zip(sizes, lying, strict=True)]
    inputs = [x.tensor, b.integers(lying)]
    if fill:
        inputs.append(b.constant(torch.tensor([fill], dtype=torch.float32)))
    return Value(b.emit("padv2" if fill else "pad", inputs, shape, b.dtype(x)), x.order)


def pad(b: Builder, x: Value, widths: Dims, fill: float = 0.0) -> Value:
    """Pad as torch counts: the last axis first; what is below 0 is cut off."""
    ends = [(0, 0)] * len(x.order)
    for dim, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        axis = len(x.order) - 1 - dim
        size = b.shape(x)[axis]
        x = sliced(b, x, axis, max(-before, 0), size - max(-after, 0))
        ends[axis] = max(before, 0), max(after, 0)
    return padded(b, x, ends, fill) if any(map(any, ends)) else x


def reflect(b: Builder, x: Value, widths: Dims) -> Value:
    """Pad with what lies mirrored at the edge."""
    ends = [(0, 0)] * len(x.order)
    for dim, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        ends[len(x.order) - 1 - dim] = before, after
    lying = [ends[axis] for axis in x.order]
    shape = [b.result.shape[axis] for axis in x.order]
    inputs = x.tensor, b.integers(lying)
    return Value(b.emit("mirror_pad", inputs, shape, b.dtype(x), mode="reflect"), x.order)


def embedding(b: Builder, table: Tensor, ids: Value, *_: Any) -> Value:
    """Look rows up."""
    if isinstance(table, Value):
        raise ValueError("expected a constant table, got a computed one")
    shape = [*b.result.shape]
    inputs = b.constant(table), b.natural(ids)
    made = b.emit("gather", inputs, shape, b.tensors[inputs[0]].dtype, axis=0, batch_dims=0)
    return _own(b, made, shape)


def index(b: Builder, x: Value, indices: Sequence[Operand | None]) -> Value:
    """Take elements by indices that are constant, or along one axis by those of a value."""
    shape = [*b.result.shape]
    given = [dim for dim, one in enumerate(indices) if one is not None]
    constant = all(isinstance(one, Tensor) for one in indices if one is not None)
    if len(given) == 1:
        return index_select(b, x, given[0], indices[given[0]])
    if not constant:
        raise ValueError("expected one axis with indices, or constant ones")
    # The places that elements have if the tensor is one row.
    sizes = b.shape(x)
    places = torch.arange(int(b.result.new_empty(sizes).numel())).reshape(sizes)
    taken = places[tuple(slice(None) if one is None else one for one in indices)]
    row = Value(b.reshape(b.natural(x), [places.numel()], False), (0,))
    if torch.equal(taken.reshape(-1), places.reshape(-1)):
        return b.viewed(row, shape)
    return index_select(b, row, 0, taken.to(torch.int32))


def index_select(b: Builder, x: Value, dim: int, indices: Any) -> Value:
    """Take elements of an axis; indices of several axes put those in its place."""
    if isinstance(indices, Tensor) and indices.dtype != torch.bool:
        size = b.shape(x)[dim]
        indices = torch.where(indices < 0, indices + size, indices)
    places = b.natural(indices)
    if b.tensors[places].dtype.kind not in "iu":
        raise ValueError("expected integers as indices, got a mask")
    shape = [*b.result.shape]
    inputs = b.natural(x), places
    made = b.emit("gather", inputs, shape, b.dtype(x), axis=dim % len(x.order), batch_dims=0)
    return _own(b, made, shape)


def _own(b: Builder, tensor: int, shape: Sequence[int]) -> Value:  # noqa: ARG001
    return Value(tensor, tuple(range(len(shape))))


def same(b: Builder, x: Value, *_: Any, **__: Any) -> Value:  # noqa: ARG001
    """Return what is given: a copy, a dropout after training."""
    return x


aten = torch.ops.aten

OPERATORS = {
    **dict.fromkeys(
        (
            *(aten.view.default, aten.reshape.default, aten._unsafe_view.default),
            *(aten.flatten.using_ints, aten.unflatten.int, aten.unsqueeze.default),
            *(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims),
        ),
        _shaped,
    ),
    **dict.fromkeys(
        (
            *(aten.clone.default, aten.contiguous.default, aten.alias.default),
            *(aten.detach.default, aten.dropout.default, aten.lift_fresh_copy.default),
        ),
        same,
    ),
    aten.permute.default: permute,
    aten.transpose.int: transpose,
    aten.expand.default: expand,
    aten.repeat.default: repeat,
    aten.slice.Tensor: sliced,
    aten.select.int: select,
    aten.split.Tensor: split,
    aten.split_with_sizes.default: split,
    aten.unbind.int: unbind,
    aten.cat.default: concatenate,
    aten.stack.default: stack,
    aten.constant_pad_nd.default: pad,
    aten.reflection_pad2d.default: reflect,
    aten.embedding.default: embedding,
    aten.index.Tensor: index,
    aten.index_select.default: index_select,
}
