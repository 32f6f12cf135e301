# SPDX-License-Identifier: Apache-2.0
"""Attention with rotary positions, to all tokens or to those near by."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from octavo import functional
from octavo._types import Float32, Mask
from octavo.models.packing import Packed
from octavo.models.rotary import rotary_table

# Queries of a block: about as many as they see to either side, so that packing their keys pays, and
# not more than a table of biases may have rows.
_LEAST_BLOCK, _MOST_BLOCK = 64, 512
# Added to scores beyond the reach: what is left of a weight is below 2**-125. Not minus infinity,
# of which a row that sees nothing but padding would become NaN.
_BEYOND = np.float32(-1e30)


def rotary_attention(
    qkv: Float32, mask: Mask | Packed | None, heads: int, theta: float, reach: int | None = None
) -> Float32:
    """Attend by queries and keys turned by their positions.

    Parameters
    ----------
    qkv : float32 array, shape (batch, tokens, 3 * size)
        Queries, keys and values side by side.
    mask : bool array, shape (batch, tokens), Packed or None
        Which keys take part, or where packed sequences are.
    heads : int
    theta : float
        The base of the rotary frequencies.
    reach : int, optional
        How many tokens to either side a query sees; default: all.

    Returns
    -------
    float32 array, shape (batch, tokens, size)
    """
    turned = _turned(qkv, mask, heads, theta)
    if not isinstance(mask, Packed):
        return _near(turned, mask, heads, reach)
    if reach is None or mask.longest <= reach + 1:
        return functional.attention(*turned, heads=heads, offsets=mask.offsets)
    query, key, value = turned
    parts = [
        _near((query[:, rows], key[:, rows], value[:, rows]), None, heads, reach)
        for rows in mask.rows()
    ]
    return np.concatenate(parts, axis=1)


def rotary_attention_int8(
    qkv: Float32, mask: Mask | Packed | None, heads: int, theta: float, reach: int | None = None
) -> Float32:
    """Compute `rotary_attention` in int8."""
    turned = _turned(qkv, mask, heads, theta)
    valid, offsets, places = mask, None, np.arange(qkv.shape[1])
    if isinstance(mask, Packed):
        valid, offsets, places = None, mask.offsets, mask.places
    ranges = None if reach is None else places[:, None] + np.array([-reach, reach + 1])
    return functional.attention_int8(
        *turned, valid, heads=heads, key_ranges=ranges, offsets=offsets
    )


def _turned(
    qkv: Float32, mask: Mask | Packed | None, heads: int, theta: float
) -> tuple[Float32, Float32, Float32]:
    """Return queries and keys turned by their positions, and values."""
    size = qkv.shape[2] // 3
    tokens = mask.longest if isinstance(mask, Packed) else qkv.shape[1]
    table = rotary_table(tokens, size // heads, theta)
    places = mask.places if isinstance(mask, Packed) else np.arange(tokens)
    turned = functional.rotary_embedding(qkv[..., : 2 * size], *table, places, 2 * heads)
    return turned[..., :size], turned[..., size:], qkv[..., 2 * size :]


def _near(
    turned: tuple[Float32, Float32, Float32], mask: Mask | None, heads: int, reach: int | None
) -> Float32:
    """Attend in float32 to what is within reach."""
    query, key, value = turned
    tokens = query.shape[1]
    if reach is None or tokens <= reach + 1:
        return functional.attention(query, key, value, mask, heads=heads)
    # Blocks of queries, each with the keys that some of them see. Where a block begins depends on
    # nothing, so that what follows a row changes no bit of it.
    block = min(max(reach, _LEAST_BLOCK), _MOST_BLOCK)
    beyond = _beyond(block, reach)
    out = np.empty(query.shape, np.float32)
    for start in range(0, tokens, block):
        rows = slice(start, min(start + block, tokens))
        seen = slice(max(0, start - reach), min(start + block + reach, tokens))
        first = seen.start - (start - reach)
        bias = beyond[:, : rows.stop - start, first : first + seen.stop - seen.start]
        valid = None if mask is None else mask[:, seen]
        out[:, rows] = functional.attention(
            query[:, rows], key[:, seen], value[:, seen], valid, bias, heads=heads
        )
    return out


@lru_cache(maxsize=8)
def _beyond(block: int, reach: int) -> Float32:
    """Return what is added to the scores of a block's queries, (1, block, keys)."""
    distance = np.arange(block + 2 * reach) - reach - np.arange(block)[:, None]
    return np.where(np.abs(distance) <= reach, np.float32(0), _BEYOND)[None]
