# SPDX-License-Identifier: Apache-2.0
"""Attention to keys and values that are kept, and those of float32; int8 ones are a backend's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from octavo import _backend, functional
from octavo._types import Float32, Int64

_AT_ONCE = 1 << 21
"""Pairs of queries and keys whose biases are in memory together."""


class FloatKeyValues:
    """Keys and values in float32; what `KeyValueCache` of the backends is in int8."""

    def __init__(self, layers: int, kv_heads: int, head_size: int) -> None:
        self._heads = kv_heads
        self._layers = [np.empty((2, 0, kv_heads * head_size), np.float32) for _ in range(layers)]
        self._counts = [0] * layers

    def append(self, layer: int, k: Float32, v: Float32) -> None:
        """Keep rows (T, kv_heads * D) behind those of before."""
        start, held = self._counts[layer], self._layers[layer]
        stop = start + len(k)
        if stop > held.shape[1]:
            longer = np.empty((2, max(stop, 2 * start), held.shape[2]), np.float32)
            longer[:, :start] = held[:, :start]
            self._layers[layer] = held = longer
        held[0, start:stop], held[1, start:stop] = k, v
        self._counts[layer] = stop

    def lengths(self) -> list[int]:
        """Return how many tokens each layer holds."""
        return list(self._counts)

    def truncate(self, tokens: int) -> None:
        """Forget all tokens behind the first so many."""
        self._counts = [min(count, tokens) for count in self._counts]

    def fork(self) -> FloatKeyValues:
        """Return a copy, to be continued apart from this one."""
        made = object.__new__(FloatKeyValues)
        made._heads, made._counts = self._heads, self.lengths()
        held = zip(self._layers, self._counts, strict=True)
        made._layers = [values[:, :count].copy() for values, count in held]
        return made

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return sum(held.nbytes for held in self._layers)

    def codes(self, layer: int) -> tuple[Float32, Float32]:
        """Return keys and values (n, kv_heads * D)."""
        held, count = self._layers[layer], self._counts[layer]
        return held[0, :count].copy(), held[1, :count].copy()

    def restore(self, layer: int, keys: Float32, values: Float32) -> None:
        """Continue with what `codes` gave."""
        self.append(layer, keys, values)

    def attend(
        self, q: Float32, layer: int, heads: int, window: int | None, scale: float, out: Float32
    ) -> None:
        """Attend of the newest tokens; each row depends on what it sees alone."""
        count = self._counts[layer]
        keys, values = (held[:count] for held in self._layers[layer])
        last = count - len(q) + np.arange(len(q))
        first = np.zeros_like(last) if window is None else np.maximum(0, last + 1 - window)
        group = heads // self._heads
        step = max(1, _AT_ONCE // (group * max(1, count)))
        if len(q) > 1 and not (np.isfinite(keys).all() and np.isfinite(values).all()):
            step = 1  # only of finite numbers what is hidden adds exact zeros
        for start in range(0, len(q), step):
            rows = slice(start, start + step)
            seen = slice(first[start], last[rows][-1] + 1)
            place = np.arange(seen.start, seen.stop)
            hidden = (place < first[rows, None]) | (place > last[rows, None])
            bias = np.where(hidden, np.float32(-np.inf), np.float32(0))
            # Heads that share keys stand one below the other, as queries of one head.
            asked = q[rows].reshape(len(bias), self._heads, group, -1).swapaxes(1, 2)
            mixed = functional.attention(
                asked.reshape(1, len(bias) * group, -1),
                keys[None, seen],
                values[None, seen],
                bias=bias.repeat(group, axis=0)[None] if len(bias) > 1 else None,
                heads=self._heads,
                scale=scale,
            )
            parts = mixed.reshape(len(bias), group, self._heads, -1).swapaxes(1, 2)
            out[rows] = parts.reshape(len(bias), -1)


def attend(
    query: Float32,
    key: Float32,
    value: Float32,
    offsets: Int64,
    caches: Sequence[Any],
    layer: int,
    heads: int,
    window: int | None,
    scale: float,
) -> Float32:
    """Keep keys and values of new rows, and attend of them to all that is kept.

    Parameters
    ----------
    query : float32 array, shape (rows, heads * D)
    key, value : float32 arrays, shape (rows, kv_heads * D)
    offsets : int64 array, shape (sequences + 1,)
    caches : sequence of KeyValueCache or of FloatKeyValues
        Of each sequence.
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
    ends = list(pairwise(offsets.tolist()))
    for cache, (start, stop) in zip(caches, ends, strict=True):
        rows = slice(start, stop)
        cache.append(layer, key[rows], np.ascontiguousarray(value[rows]))
    if not isinstance(caches[0], FloatKeyValues):
        _backend.backend.attention_cached(
            query, offsets, list(caches), layer, heads, window, scale, out
        )
        return out
    for cache, (start, stop) in zip(caches, ends, strict=True):
        cache.attend(query[start:stop], layer, heads, window, scale, out[start:stop])
    return out
