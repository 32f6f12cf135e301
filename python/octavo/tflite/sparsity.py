# SPDX-License-Identifier: Apache-2.0
"""Sparse tensors of a file, as dense ones.

The dimensions of a tensor, some of them cut into blocks, are gone through in an order that the file
states. A dense dimension has all its places; a compressed one lists those that it has, for each
place of the dimensions before it: between which indices, and the indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from octavo._text import shown
from octavo._types import Array, Int64
from octavo.tflite.flatbuffer import Table
from octavo.tflite.schema import INDEX_VECTORS, TABLES


def densified(values: Array, shape: tuple[int, ...], sparsity: Table) -> Array:
    """Return a dense tensor.

    Parameters
    ----------
    values : ndarray, one-dimensional
        What the file holds of it.
    shape : tuple of int
        Of the tensor; the caller has seen to it that there is room for so much.
    sparsity : Table
        Its `SparsityParameters`.

    Raises
    ------
    ValueError
        If that does not describe such a tensor.
    """
    dense = np.zeros(shape, values.dtype)
    if dense.size:
        dense.reshape(-1)[_places(shape, sparsity, len(values))] = values
    return dense


def _places(shape: tuple[int, ...], sparsity: Table, values: int) -> Int64:
    """Return where in a tensor its values belong."""
    places, most = np.zeros(1, np.int64), 1
    for size, stride, level in _dimensions(shape, sparsity):
        most *= size
        if level["format"] == "dense":
            if level["dense_size"] != size:
                level.buffer.fail(level.where, f"expected size {size}, got {level['dense_size']}")
            # A compressed dimension behind it lists as many segments, a dense one needs values.
            if len(places) * size > level.buffer.size:
                level.buffer.fail(
                    level.where, f"{len(places) * size} places, more than the file has"
                )
            places = (places[:, None] + np.arange(size) * stride).reshape(-1)
        else:
            counts, indices = _compressed(level, len(places), size)
            places = np.repeat(places, counts) + indices * stride
        if len(places) > most:
            level.buffer.fail(level.where, f"expected at most {most} indices, got {len(places)}")
    if len(places) != values:
        sparsity.buffer.fail(sparsity.where, f"places for {len(places)} values, got {values}")
    return places


def _dimensions(shape: tuple[int, ...], sparsity: Table) -> Iterator[tuple[int, int, Table]]:
    """Yield dimensions and those of blocks, in their order: size, stride, description."""
    rank, fail = len(shape), sparsity.buffer.fail
    order, levels = _integers(sparsity, "traversal_order"), sparsity["dim_metadata"] or []
    blocks = _integers(sparsity, "block_map")
    count = rank + len(blocks)
    if sorted(order) != list(range(count)) or len(levels) != count:
        fail(
            sparsity.where,
            f"expected {count} dimensions in some order, each with a description, got"
            f" {shown(order)} with {len(levels)}",
        )
    if len(set(blocks)) < len(blocks) or not all(0 <= one < rank for one in blocks):
        fail(sparsity.path("block_map"), f"expected dimensions, each once, got {shown(blocks)}")
    sizes, strides = list(shape), [math.prod(shape[i + 1 :]) for i in range(rank)]
    for number, dimension in enumerate(blocks, rank):
        block = int(levels[order.index(number)]["dense_size"])
        if block < 1 or shape[dimension] % block:
            fail(
                sparsity.path("block_map"),
                f"expected a size that divides {shape[dimension]}, got {block}",
            )
        sizes.append(block)
        strides.append(strides[dimension])
        sizes[dimension] //= block
        strides[dimension] *= block
    for dimension, level in zip(order, levels, strict=True):
        yield sizes[dimension], strides[dimension], level


def _integers(table: Table, field: str) -> list[int]:
    found = table[field]
    return [] if found is None else [int(number) for number in found]


def _compressed(level: Table, count: int, size: int) -> tuple[Int64, Int64]:
    """Return how many indices of a dimension each place before it has, and the indices."""
    segments, indices = _indices(level, "array_segments"), _indices(level, "array_indices")
    counts = np.diff(segments)
    if len(segments) != count + 1 or segments[0] != 0 or (counts < 0).any():
        level.buffer.fail(
            level.path("array_segments"), f"expected {count + 1} rising numbers from 0"
        )
    if segments[-1] != len(indices):
        level.buffer.fail(
            level.path("array_indices"), f"expected {segments[-1]} indices, got {len(indices)}"
        )
    if len(indices) and not (indices.min() >= 0 and indices.max() < size):
        level.buffer.fail(level.path("array_indices"), f"expected indices below {size}")
    return counts, indices


def _indices(level: Table, field: str) -> Int64:
    number = level[f"{field}_type"]
    kind = INDEX_VECTORS[number] if number < len(INDEX_VECTORS) else ""
    if not kind:
        level.buffer.fail(level.path(field), f"expected a known type of indices, got {number}")
    table = level.union(field, TABLES[kind])
    values = None if table is None else table["values"]
    if values is None:
        level.buffer.fail(level.path(field), "expected indices, got none")
    return values.astype(np.int64)
