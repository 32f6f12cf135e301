# SPDX-License-Identifier: Apache-2.0
"""Groups that kernels have no size for, in others: as they are where that can be, or rounded."""

from __future__ import annotations

import numpy as np

from octavo._types import Array, Float32
from octavo.io.gguf.groups import Groups

GROUP = 32
"""Values of a group that is made of two smaller ones."""

_LARGEST = 128
_LEAST = np.finfo(np.float16).tiny
# What two groups with a scale each become: codes of so many bits, so many times as fine.
_FINER = {"Q3_K": (5, 4), "Q6_K": (8, 4)}
ROUNDED = ("Q2_K", *_FINER)
"""Types whose values change."""


def regrouped(name: str, groups: Groups) -> Groups:
    """Return groups of 32 to 128 values.

    Longer ones are cut, two of 16 become one. Of Q6_K and Q3_K that has a fraction of the larger
    scale: whoever had it keeps its values, which are then multiples. Codes become those of 8 bits,
    or of 5. Groups of Q2_K have a minimum, and become 4 bits between the least and the largest.

    Parameters
    ----------
    name : str
        The type in the file.
    groups : Groups
        As `octavo.io.gguf.groups.groups_of` gives them.
    """
    if name in _FINER:
        return _merged(groups, *_FINER[name])
    if name == "Q2_K":
        return _bounded(groups)
    if groups.size > _LARGEST:
        return groups._replace(scale=groups.scale.repeat(groups.size // _LARGEST, axis=1))
    return groups


def values_of(groups: Groups) -> Float32:
    """Return the values as float32, (rows, values)."""
    scales, minima = groups.scales(), groups.minima()
    values = groups.codes.reshape(*scales.shape, -1) * scales[..., None]
    if minima is not None:
        values += minima[..., None]
    return values.reshape(groups.codes.shape)


def _merged(groups: Groups, bits: int, finer: int) -> Groups:
    pairs = groups.scales().reshape(len(groups.codes), -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    larger: Float32 = np.where(np.abs(first) >= np.abs(second), first, second)
    scale = _of_half_precision(np.divide(larger, finer, dtype=np.float32))
    return Groups(_rounded(values_of(groups), scale, -(1 << bits >> 1), bits), scale)


def _of_half_precision(scale: Float32) -> Float32:
    """Return float16 numbers near scales, where that has normal ones."""
    half = scale.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(half) & (np.abs(scale) >= _LEAST), half, scale)


def _bounded(groups: Groups) -> Groups:
    values = values_of(groups)
    parts = values.reshape(len(values), -1, GROUP)
    low = parts.min(axis=2).astype(np.float16)
    steps = np.float32(15)
    scale = ((parts.max(axis=2) - low) / steps).astype(np.float16)
    shifted = parts - low[..., None].astype(np.float32)
    return Groups(_rounded(shifted, scale.astype(np.float32), 0, 4), scale, low)


def _rounded(values: Float32, scale: Float32, least: int, bits: int) -> Array:
    """Return the nearest codes, from `least` on, of values in groups with these scales."""
    parts = values.reshape(*scale.shape, GROUP)
    codes = np.rint(parts / np.where(scale == 0, np.float32(1), scale)[..., None])
    np.clip(codes, least, least + (1 << bits) - 1, out=codes)
    return codes.astype(np.int8).reshape(len(scale), -1)
