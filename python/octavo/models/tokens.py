# SPDX-License-Identifier: Apache-2.0
"""Rows of several sequences that run through a decoder side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from octavo import _backend
from octavo._types import Float32, Int64
from octavo.functional import rotary_embedding
from octavo.models.cached_attention import FloatKeyValues
from octavo.models.rope import Rope
from octavo.models.rotary import scaled_table
from octavo.nn.traced import Traced


class Tokens(NamedTuple):
    """What layers get beside the states of rows.

    Attributes
    ----------
    offsets : int64 array, shape (sequences + 1,)
        Where each sequence begins, and where the last ends.
    places : int64 array, shape (rows,)
        The position of each row in its sequence.
    caches : list of KeyValueCache or FloatKeyValues
        Of each sequence, where keys and values are kept; of one type.
    """

    offsets: Int64
    places: Int64
    caches: list[Any]

    @property
    def in_float(self) -> bool:
        """Whether keys and values are kept in float32."""
        return isinstance(self.caches[0], FloatKeyValues)

    def table(self, rope: Rope) -> tuple[Float32, Float32]:
        """Return cosines and sines, up to the last place."""
        return scaled_table(int(self.places.max()) + 1, rope.frequencies, rope.scale)

    def turned(self, rows: Float32, rope: Rope, heads: int) -> Float32:
        """Turn the heads of rows by their places."""
        return rotary_embedding(rows, *self.table(rope), self.places, heads)

    def attend(
        self,
        query: Float32,
        key: Float32,
        value: Float32,
        layer: int,
        heads: int,
        window: int | None,
        scale: float,
    ) -> Float32:
        """Keep keys and values of the rows, and attend of them to all that is kept.

        Parameters
        ----------
        query : float32 array, shape (rows, heads * D)
        key, value : float32 arrays, shape (rows, kv_heads * D)
        layer, heads : int
        window : int, optional
            How many tokens each sees, itself among them.
        scale : float
            What products of queries and keys are multiplied by.

        Returns
        -------
        float32 array, shape (rows, heads * D)
        """
        out = np.empty(query.shape, np.float32)
        ends = list(pairwise(self.offsets.tolist()))
        for cache, (start, stop) in zip(self.caches, ends, strict=True):
            rows = slice(start, stop)
            cache.append(layer, key[rows], np.ascontiguousarray(value[rows]))
        if not self.in_float:
            _backend.backend.attention_cached(
                query, self.offsets, self.caches, layer, heads, window, scale, out
            )
            return out
        for cache, (start, stop) in zip(self.caches, ends, strict=True):
            cache.attend(query[start:stop], layer, heads, window, scale, out[start:stop])
        return out


class TracedTokens:
    """What stands for `Tokens` while layers are written down."""

    def turned(self, rows: Traced, rope: Rope, heads: int) -> Traced:
        """Write down `Tokens.turned`."""
        return rows.rotary(rope, heads)

    def attend(self, query: Traced, key: Traced, value: Traced, *options: Any) -> Traced:
        """Write down `Tokens.attend`."""
        return query.attention_cached(key, value, *options)
