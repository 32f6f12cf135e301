# SPDX-License-Identifier: Apache-2.0
"""How a range of values becomes a scale: one definition for rows, tensors and weights."""

from __future__ import annotations

import numpy as np

from octavo import _checks
from octavo._types import Array, Float32

GROUPS = (32, 64, 128)
"""How many neighbouring inputs of a weight may share a scale."""

GROUPS_PER_UNIT = 8

# The smallest normal float32: the reciprocal of a smaller scale could be infinite.
SMALLEST_SCALE = np.float32(1.17549435e-38)


def range_to_scale(lo: Array, hi: Array, steps: int) -> Array:
    """Return the scale that maps the ranges [lo, hi], which hold 0, onto `steps` steps."""
    count = np.float32(steps)
    width = hi - lo
    # A range wider than float32 can say is divided before it is added up.
    scale = np.where(np.isinf(width), hi / count - lo / count, width / count)
    return normal_scale(scale, width == 0)


def sum_multiplier(out_scale: float, *scales: Array | float) -> Float32:
    """Return what makes codes of sums of codes: the product of their scales over the result's.

    Each operation rounds to float32, as in XNNPACK: what it computes so has the same codes.
    """
    with np.errstate(over="ignore", under="ignore"):
        product = np.float32(1)
        for scale in scales:
            product = product * np.asarray(scale, np.float32)
        found: Float32 = product / np.float32(out_scale)
    return found


def group_size(size: object) -> int:
    """Return a size of groups, checked."""
    number = _checks.integer(size, "group", 1)
    if number not in GROUPS:
        raise ValueError(f"group: expected 32, 64 or 128, got {number}")
    return number


def group_floats(values: Array, unit: Array | None) -> Array:
    """Return numbers of groups, (N, groups), as float32: themselves, or steps of units."""
    if unit is None:
        return values.astype(np.float32)
    units = unit.astype(np.float32).repeat(GROUPS_PER_UNIT, axis=1)
    product: Array = units[:, : values.shape[1]] * values
    return product


def normal_scale(scale: Array, empty: Array) -> Array:
    """1 where the range is empty, else at least the smallest normal number."""
    scale = np.where(scale < SMALLEST_SCALE, SMALLEST_SCALE, scale)
    return np.where(empty, np.float32(1), scale)
