# SPDX-License-Identifier: Apache-2.0
"""Checks of index arrays, and the way from any sparse form to canonical compressed rows.

Canonical: columns rise strictly along each row.  Nothing here reads through an index before it is
known to be in range, and no foreign library's conversion runs on unchecked arrays.  What is checked
is a copy, which stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octavo import _checks
from octavo._types import Array

MAX_SIZE = 2**31 - 1
"""The largest number of rows and of columns."""


@dataclass(frozen=True)
class Rows:
    """Canonical compressed rows of an (N, K) matrix."""

    indptr: Array  # (N + 1,) int64
    indices: Array  # (nnz,) int32
    values: Array  # (nnz,) float32
    shape: tuple[int, int]


def check_shape(shape: object, name: str = "shape") -> tuple[int, int]:
    """Return (N, K) as Python integers."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        got = shape if isinstance(shape, (tuple, list)) else type(shape).__name__
        raise ValueError(f"{name}: expected two sizes (N, K), got {got}")
    return (
        _checks.integer(shape[0], f"{name}[0]", 0, MAX_SIZE),
        _checks.integer(shape[1], f"{name}[1]", 0, MAX_SIZE),
    )


def check_vector(x: Array, name: str) -> Array:
    """Refuse anything but one dimension."""
    if x.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {x.shape}")
    return x


def check_pointers(indptr: object, rows: int, count: int) -> Array:
    """Return `indptr` as int64: rows + 1 values that rise from 0 to `count`."""
    starts = check_vector(_checks.as_ids(indptr, "indptr", own=True), "indptr")
    if starts.size != rows + 1:
        raise ValueError(f"indptr: expected {rows + 1} values, got {starts.size}")
    if starts[0] != 0:
        raise ValueError(f"indptr: expected 0 at the start, got {starts[0]}")
    falls = starts[1:] < starts[:-1]
    if falls.any():
        row = int(falls.argmax())
        raise ValueError(
            f"indptr: expected values that never fall, got {starts[row + 1]} after {starts[row]}"
            f" at row {row}"
        )
    if starts[-1] != count:
        raise ValueError(f"indptr: expected {count} (one per index) at the end, got {starts[-1]}")
    return np.ascontiguousarray(starts)


def check_range(indices: object, size: int, name: str, what: str) -> Array:
    """Return indices as int64, all of them in [0, size)."""
    array = check_vector(_checks.as_ids(indices, name, own=True), name)
    wrong = (array < 0) | (array >= size)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{name}: expected {what} in [0, {size}), got {array[at]} at {at}")
    return array


def check_ascending(indptr: Array, indices: Array) -> None:
    """Refuse columns that do not rise strictly along each row; the message names the row."""
    wrong = first_disorder(indptr, indices)
    if wrong is None:
        return
    row = int(np.searchsorted(indptr, wrong, side="right")) - 1
    before, after = indices[wrong - 1], indices[wrong]
    kind = "duplicated" if before == after else "unsorted"
    raise ValueError(
        f"indices: expected columns that rise strictly along each row, got {kind} ones in row {row}"
        f" ({after} after {before})"
    )


def first_disorder(indptr: Array, indices: Array) -> int | None:
    """Return the first place whose index is not above the one before it in its row."""
    falls = indices[1:] <= indices[:-1]
    starts = indptr[1:-1]
    falls[starts[(starts > 0) & (starts < indices.size)] - 1] = False
    return int(falls.argmax()) + 1 if falls.any() else None


def from_coordinates(rows: Array, columns: Array, values: Array, shape: tuple[int, int]) -> Rows:
    """Sort coordinates that are in range; values at the same place are added in float32."""
    order = np.lexsort((columns, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    if rows.size:
        new = np.ones(rows.size, bool)
        new[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
        if not new.all():
            first = np.flatnonzero(new)
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.add.reduceat(values, first)
            rows, columns = rows[first], columns[first]
    indptr = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=shape[0]), out=indptr[1:])
    return compressed(indptr, columns, values, shape)


def compressed(indptr: Array, indices: Array, values: Array, shape: tuple[int, int]) -> Rows:
    """Bring checked arrays to the dtypes a backend takes."""
    return Rows(
        np.ascontiguousarray(indptr, np.int64),
        np.ascontiguousarray(indices, np.int32),
        np.ascontiguousarray(values, np.float32),
        shape,
    )


def from_compressed(
    indptr: object, indices: object, values: Array, shape: tuple[int, int], *, by_columns: bool
) -> Rows:
    """Canonical rows of compressed rows, or of compressed columns."""
    major, minor = shape[::-1] if by_columns else shape
    what = "rows" if by_columns else "columns"
    inner = check_range(indices, minor, "indices", what)
    check_count(values, inner.size)
    starts = check_pointers(indptr, major, inner.size)
    if not by_columns and first_disorder(starts, inner) is None:
        return compressed(starts, inner, values, shape)
    outer = np.repeat(np.arange(major), np.diff(starts))
    rows, columns = (inner, outer) if by_columns else (outer, inner)
    return from_coordinates(rows, columns, values, shape)


def from_blocks(
    indptr: object, indices: object, blocks: Array, shape: tuple[int, int], *, by_columns: bool
) -> Rows:
    """Canonical rows of compressed blocks (count, height, width); zeros in blocks are dropped."""
    if blocks.ndim != 3 or 0 in blocks.shape[1:]:
        raise ValueError(f"blocks: expected shape (count, height, width), got {blocks.shape}")
    height, width = blocks.shape[1:]
    if shape[0] % height or shape[1] % width:
        raise ValueError(f"shape: expected multiples of the block ({height}, {width}), got {shape}")
    grid = shape[0] // height, shape[1] // width
    major, minor = grid[::-1] if by_columns else grid
    inner = check_range(indices, minor, "indices", "blocks")
    check_count(blocks, inner.size)
    outer = np.repeat(np.arange(major), np.diff(check_pointers(indptr, major, inner.size)))
    block_rows, block_columns = (inner, outer) if by_columns else (outer, inner)
    block, i, j = np.nonzero(blocks)
    rows, columns = block_rows[block] * height + i, block_columns[block] * width + j
    return from_coordinates(rows, columns, blocks[block, i, j], shape)


def to_dense(rows: Rows) -> Array:
    """Return the whole matrix, a fresh (N, K) float32 array."""
    out = np.zeros(rows.shape, np.float32)
    out[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices] = rows.values
    return out


def check_count(values: Array, count: int) -> None:
    """As many values (or blocks) as indices."""
    if len(values) != count:
        raise ValueError(f"values: expected {count} (one per index), got {len(values)}")
