# SPDX-License-Identifier: Apache-2.0
"""Which entries stay: exact counts, and of equal scores the first ones go."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from octavo import _checks
from octavo._types import Array

Mask = NDArray[np.bool_]

MAX_GROUP = 16
_FLOATS = ("float16", "float32", "float64")


def as_weight(x: object, name: str = "weight", *, finite: bool = True) -> Array:
    """Return an (N, K) float array, not converted; checked to be finite unless that comes later."""
    array = _checks.as_array(x, name)
    if array.dtype.name not in _FLOATS:
        raise TypeError(f"{name}: expected float16, float32 or float64, got {array.dtype}")
    _checks.check_shape(array, (None, None), name)
    if finite:
        _checks.check_finite(array, name)
    return array


def as_mask(x: object, shape: tuple[int, ...]) -> Mask:
    """Return a bool array of a shape."""
    array = _checks.as_array(x, "mask")
    if array.dtype != np.bool_:
        raise TypeError(f"mask: expected bool, got {array.dtype}")
    _checks.check_shape(array, shape, "mask")
    return _checks.as_bool(array)


def share(value: object, name: str = "sparsity") -> float:
    """Return a share of zeros, in [0, 1)."""
    return _checks.real(value, name, "[0, 1)")


def group_of(n: object, m: object) -> tuple[int, int]:
    """Return N and M of an N:M pattern, 1 <= N < M <= 16."""
    size = _checks.integer(m, "m", 2, MAX_GROUP)
    kept = _checks.integer(n, "n", 1)
    if kept >= size:
        raise ValueError(f"n: expected fewer than m = {size}, got {kept}")
    return kept, size


def block_of(rows: object, cols: object) -> tuple[int, int]:
    """Return the shape of a block."""
    return _checks.integer(rows, "rows", 1), _checks.integer(cols, "cols", 1)


def count(sparsity: float, total: int) -> int:
    """Return how many of `total` go at this sparsity."""
    return round(sparsity * total)


def drop_smallest(scores: Array, dropped: int) -> Mask:
    """Keep all but the `dropped` smallest entries; of equal ones, the first in C order go."""
    flat = scores.reshape(-1)
    if dropped == 0:
        return np.ones(scores.shape, np.bool_)
    limit = np.partition(flat, dropped - 1)[dropped - 1]
    keep = flat > limit
    equal = np.flatnonzero(flat == limit)
    below = flat.size - np.count_nonzero(keep) - equal.size
    keep[equal[dropped - below :]] = True
    return keep.reshape(scores.shape)


def drop_smallest_of_rows(scores: Array, dropped: int) -> Mask:
    """Do the same in each row of a 2-D array."""
    order = np.argsort(scores, axis=1, kind="stable")
    keep = np.ones(scores.shape, np.bool_)
    np.put_along_axis(keep, order[:, :dropped], False, axis=1)
    return keep


def keep_groups(scores: Array, n: int, m: int) -> Mask:
    """Keep the `n` largest of every `m` neighbours in a row; scores are not negative.

    A last group of fewer than `m` keeps at most `n`: it is treated as if padded with entries that
    go first.
    """
    rows, columns = scores.shape
    groups = math.ceil(columns / m)
    padded = np.full((rows, groups * m), -1, scores.dtype)
    padded[:, :columns] = scores
    keep = drop_smallest_of_rows(padded.reshape(rows * groups, m), m - n)
    return keep.reshape(rows, groups * m)[:, :columns]


def block_sums(scores: Array, rows: int, cols: int) -> Array:
    """Sum non-overlapping blocks; blocks at the edges count as if padded with zeros."""
    height, width = (
        math.ceil(size / step) for size, step in zip(scores.shape, (rows, cols), strict=False)
    )
    padded = np.zeros((height * rows, width * cols), scores.dtype)
    padded[: scores.shape[0], : scores.shape[1]] = scores
    return padded.reshape(height, rows, width, cols).sum(axis=(1, 3))


def spread(keep: Mask, rows: int, cols: int, shape: tuple[int, ...]) -> Mask:
    """Turn a mask of blocks into one of entries."""
    full = np.repeat(np.repeat(keep, rows, axis=0), cols, axis=1)
    return np.ascontiguousarray(full[: shape[0], : shape[1]])
