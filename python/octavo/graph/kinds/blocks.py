# SPDX-License-Identifier: Apache-2.0
"""Blocks of pixels as channels or as images of a batch, and back."""

from __future__ import annotations

import math

import numpy as np

from octavo._types import Array
from octavo.graph.kinds.call import ANY, Call, Kind, Shape, viewing


def _depth_to_space(call: Call, x: Array) -> Array:
    n, h, w, c = call.shape(0, 4)
    block = call.integer("block_size", 1, 1)
    call.need(c % block**2 == 0, f"a multiple of {block**2} channels", x.shape)
    split = x.reshape(n, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(n, h * block, w * block, c // block**2)


def _space_to_depth(call: Call, x: Array) -> Array:
    n, h, w, c = call.shape(0, 4)
    block = call.integer("block_size", 1, 1)
    call.need(h % block == w % block == 0, f"multiples of {block} along axes 1 and 2", x.shape)
    split = x.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(n, h // block, w // block, block**2 * c)


def _blocks(call: Call) -> tuple[list[int], list[tuple[int, int]]]:
    """Return sizes of blocks along the axes after the first, and pairs of ends."""
    sizes, ends = call.known(1), call.known(2)
    rank = len(call.shape(0))
    fits = 0 < len(sizes) < rank and len(ends) == 2 * len(sizes)
    call.need(fits and min(sizes) > 0 and min(ends) >= 0, "sizes of blocks, and pairs", ends)
    return sizes, list(zip(ends[::2], ends[1::2], strict=True))


def _space_to_batch_shape(call: Call) -> list[Shape]:
    sizes, ends = _blocks(call)
    shape = list(call.shape(0))
    for axis, (size, (before, after)) in enumerate(zip(sizes, ends, strict=True), start=1):
        total = shape[axis] + before + after
        call.need(total % size == 0, f"a multiple of {size} along axis {axis}", total)
        shape[axis] = total // size
    return [(shape[0] * math.prod(sizes), *shape[1:])]


def _space_to_batch(call: Call, x: Array, *_: Array) -> Array:
    sizes, ends = _blocks(call)
    inner = len(sizes)
    rest = [(0, 0)] * (x.ndim - 1 - inner)
    padded = np.pad(x, [(0, 0), *ends, *rest])
    (shape,) = _space_to_batch_shape(call)
    split = [x.shape[0]]
    for axis, size in enumerate(sizes, start=1):
        split += [shape[axis], size]
    order = [*range(2, 2 * inner + 1, 2), 0, *range(1, 2 * inner, 2)]
    view = padded.reshape(*split, *x.shape[inner + 1 :])
    return view.transpose(*order, *range(2 * inner + 1, view.ndim)).reshape(shape)


def _batch_to_space(call: Call, x: Array, *_: Array) -> Array:
    sizes, ends = _blocks(call)
    inner, blocks = len(sizes), math.prod(sizes)
    call.need(x.shape[0] % blocks == 0, f"a multiple of {blocks} along axis 0", x.shape)
    whole = [one * size for one, size in zip(x.shape[1:], sizes, strict=False)]
    fits = all(sum(pair) <= size for pair, size in zip(ends, whole, strict=True))
    call.need(fits, f"at most {whole} to crop", ends)
    view = x.reshape(*sizes, x.shape[0] // blocks, *x.shape[1:])
    order = [inner]
    for axis in range(inner):
        order += [inner + 1 + axis, axis]
    view = view.transpose(*order, *range(2 * inner + 1, view.ndim))
    view = view.reshape(x.shape[0] // blocks, *whole, *x.shape[inner + 1 :])
    crops = [slice(before, size - after) for size, (before, after) in zip(whole, ends, strict=True)]
    return view[(slice(None), *crops)]


KINDS = {
    "depth_to_space": viewing((1, 1), _depth_to_space),
    "space_to_depth": viewing((1, 1), _space_to_depth),
    "batch_to_space_nd": viewing((3, 3), _batch_to_space),
    "space_to_batch_nd": Kind((3, 3), _space_to_batch_shape, _space_to_batch, ANY),
}
