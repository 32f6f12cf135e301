# SPDX-License-Identifier: Apache-2.0
"""Attention with rotary positions, to all tokens or to those near by."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import functional
from octavo._types import Float32
from octavo.models.rotary import rotary_table, rotate

Mask = npt.NDArray[np.bool_]

# Queries of a block, at least: half of what they then see of a reach of 64 is seen by all.
_LEAST_BLOCK = 64
# Added to scores beyond the reach: what is left of a weight is below 2**-125. Not minus infinity,
# of which a row that sees nothing but padding would become NaN.
_BEYOND = np.float32(-1e30)


def rotary_attention(
    qkv: Float32, mask: Mask | None, heads: int, theta: float, reach: int | None = None
) -> Float32:
    """Attend by queries and keys turned by their positions.

    Parameters
    ----------
    qkv : float32 array, shape (batch, tokens, 3 * size)
        Queries, keys and values side by side.
    mask : bool array, shape (batch, tokens), or None
        Which keys take part.
    heads : int
    theta : float
        The base of the rotary frequencies.
    reach : int, optional
        How many tokens to either side a query sees; default: all.

    Returns
    -------
    float32 array, shape (batch, tokens, size)
    """
    batch, tokens, width = qkv.shape
    size = width // 3
    table = rotary_table(tokens, size // heads, theta)
    if reach is None or tokens <= reach + 1:
        turned = np.empty((batch, tokens, 2 * size), np.float32)
        rotate(qkv[..., : 2 * size], table, turned)
        query, key = turned[..., :size], turned[..., size:]
        return functional.attention(query, key, qkv[..., 2 * size :], mask, heads=heads)
    # Blocks of queries, each with the keys that some of them see. Rows of the batch lie one behind
    # the other, so that all blocks are at one distance; the mask keeps them apart.
    block = max(reach, _LEAST_BLOCK)
    blocks = -(-tokens // block)
    seen = block + 2 * reach
    places = np.zeros((reach + batch * blocks * block + reach, width), np.float32)
    inner = places[reach : len(places) - reach].reshape(batch, blocks * block, width)[:, :tokens]
    rotate(qkv[..., : 2 * size], table, inner[..., : 2 * size])
    inner[..., 2 * size :] = qkv[..., 2 * size :]
    query = places[reach : len(places) - reach, :size].reshape(-1, block, size)
    key, value = (
        np.lib.stride_tricks.sliding_window_view(part, seen, axis=0)[::block].transpose(0, 2, 1)
        for part in (places[:, size : 2 * size], places[:, 2 * size :])
    )
    mixed = functional.attention(
        query, key, value, _seen_keys(mask, batch, tokens, block, reach), _beyond(block, reach),
        heads=heads,
    )  # fmt: skip
    return mixed.reshape(batch, blocks * block, size)[:, :tokens]


def _seen_keys(mask: Mask | None, batch: int, tokens: int, block: int, reach: int) -> Mask:
    """Return which of the keys of each block are tokens of its row, (batch * blocks, keys)."""
    padded = -(-tokens // block) * block + 2 * reach
    valid = np.zeros((batch, padded), bool)
    valid[:, reach : reach + tokens] = True if mask is None else mask
    windows = np.lib.stride_tricks.sliding_window_view(valid, block + 2 * reach, axis=1)
    found: Any = windows[:, ::block].reshape(-1, block + 2 * reach)
    return found


@lru_cache(maxsize=8)
def _beyond(block: int, reach: int) -> Float32:
    """Return what is added to the scores of a block's queries, (1, block, keys)."""
    distance = np.arange(block + 2 * reach) - reach - np.arange(block)[:, None]
    return np.where(np.abs(distance) <= reach, np.float32(0), _BEYOND)[None]
