# SPDX-License-Identifier: Apache-2.0
"""Attention in int8: exact products, codes relative to the largest weight of each block of keys."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from octavo._numpy.float_ops import LOG2_E, exp2_scaled, row_sum, sequences
from octavo._numpy.fused import fused
from octavo._numpy.quantize import quantize_dynamic
from octavo._types import Array

KEYS_PER_BLOCK = 512
QUERIES_AT_ONCE = 256
_F = np.float32
_HIGHEST = _F(255)
# 255 divided by a smaller weight would not be finite.
_SMALLEST_WEIGHT = _F(2.0**-119)


class Rows(NamedTuple):
    """Rows of one head: symmetric codes, as float32, each with its scale."""

    codes: Array
    scale: Array

    def part(self, rows: slice) -> Rows:
        """Return some of the rows."""
        return Rows(self.codes[rows], self.scale[rows])


class _Block(NamedTuple):
    """What a block of keys gives to some queries; a sum of 0 says that none of it is visible."""

    top: Array
    sum: Array
    largest: Array
    products: Array


def attention_int8(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    bias: Array | None,
    key_ranges: Array | None,
    offsets: Array | None,
    heads: int,
    kv_heads: int,
    sm_scale: float,
    out: Array,
) -> None:
    """Attention over (B, T, H * D) with codes of 8 bits; keys whose mask is false do not exist.

    `key_ranges` (T_q, 2) are the keys that a query sees, from the first to before the last; `bias`
    (H or 1, T_q, T_k) is added to scaled scores; kv_heads divides heads. With `offsets` (S + 1,),
    the rows of one batch entry are S sequences, each on its own.
    """
    if offsets is not None:
        for rows, length in sequences(offsets):
            valid = None if mask is None else mask[:, rows]
            added = None if bias is None else bias[:, :length, :length]
            seen = None if key_ranges is None else key_ranges[rows]
            attention_int8(
                q[:, rows], k[:, rows], v[:, rows], valid, added, seen, None,
                heads, kv_heads, sm_scale, out[:, rows],
            )  # fmt: skip
        return
    group, d = heads // kv_heads, q.shape[2] // heads
    for b in range(q.shape[0]):
        kept = np.arange(k.shape[1]) if mask is None else np.flatnonzero(mask[b])
        seen = np.broadcast_to([0, len(kept)], (q.shape[1], 2))
        if key_ranges is not None:
            seen = np.searchsorted(kept, key_ranges)
        keys, values = (x[b, kept].reshape(len(kept), kv_heads, d) for x in (k, v))
        queries, results = (x[b].reshape(x.shape[1], heads, d) for x in (q, out))
        for head in range(heads):
            pair = key_rows(*(code_rows(x[:, head // group]) for x in (keys, values)))
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                some = slice(start, start + QUERIES_AT_ONCE)
                added = None if bias is None else bias[head % len(bias), some][:, kept]
                asked = code_rows(queries[some, head])
                results[some, head] = attend(asked, *pair, added, seen[some], _F(sm_scale))


def code_rows(x: Array) -> Rows:
    """Quantize the rows of `x`, each to symmetric codes."""
    codes, scale, _ = quantize_dynamic(np.ascontiguousarray(x), symmetric=True)
    scale[(x == 0).all(axis=1)] = 0
    return Rows(codes.astype(np.float32), scale)


def key_rows(k: Rows, v: Rows) -> tuple[Rows, Rows]:
    """Where a value is not finite, NaN must reach all that see its key."""
    k.scale[np.isnan(v.scale)] = np.nan
    v.scale[np.isnan(v.scale)] = 0
    return k, v


def attend(
    q: Rows, k: Rows, v: Rows, bias: Array | None, seen: Array, sm_scale: np.float32
) -> Array:
    """Return the results of queries that see keys from a first to before a last."""
    with np.errstate(all="ignore"):
        factor = q.scale * sm_scale * LOG2_E
        blocks = []
        for start in range(0, len(k.codes), KEYS_PER_BLOCK):
            keys = slice(start, start + KEYS_PER_BLOCK)
            added = None if bias is None else bias[:, keys] * LOG2_E
            blocks.append(_block(q, k.part(keys), v.part(keys), added, seen - start, factor))
        if bias is not None:
            factor = np.ones_like(factor)
        return _put_together(blocks, factor, (len(q.codes), v.codes.shape[1]))


def _block(q: Rows, k: Rows, v: Rows, bias: Array | None, seen: Array, factor: Array) -> _Block:
    # Sums below 2**24 are exact in float32, in any order.
    z = (q.codes @ k.codes.T) * k.scale
    if bias is not None:
        z, factor = fused(z, factor[:, None], bias), np.ones_like(factor)
    place = np.arange(len(k.codes))
    visible = (place >= seen[:, :1]) & (place < seen[:, 1:])
    top = np.fmax.reduce(np.where(visible, z, -np.inf), axis=1, initial=-np.inf)
    e = np.where(visible, exp2_scaled(z - top[:, None], factor[:, None]), _F(0))
    total = row_sum(e)
    p = e * v.scale
    largest = np.fmax.reduce(p, axis=1, initial=0)
    largest[~((total >= 0) & (largest >= _SMALLEST_WEIGHT))] = 0
    counts = largest[:, None] > 0
    codes = np.rint(np.where(counts, p * (_HIGHEST / largest)[:, None], _F(0)))
    return _Block(top, total, largest, codes.astype(np.float32) @ v.codes)


def _put_together(blocks: list[_Block], factor: Array, shape: tuple[int, int]) -> Array:
    top = np.full(shape[0], -np.inf, np.float32)
    for block in blocks:
        top = np.where(block.sum != 0, np.fmax(top, block.top), top)
    numerator, denominator = np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)
    for block in blocks:
        weight = exp2_scaled(block.top - top, factor)
        scale = (block.largest / _HIGHEST) * weight
        counts = block.sum != 0
        added = fused(block.products, scale[:, None], numerator)
        numerator = np.where(counts[:, None], added, numerator)
        denominator = np.where(counts, fused(block.sum, weight, denominator), denominator)
    result: Array = np.where(denominator[:, None] == 0, _F(0), numerator / denominator[:, None])
    return result
