# SPDX-License-Identifier: Apache-2.0
"""Keys and values of a sequence in codes of 8 bits, kept for its next tokens; attention to them."""

from __future__ import annotations

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._numpy.attention import QUERIES_AT_ONCE, Rows, attend, code_rows, key_rows
from octavo._types import Array


class _Layer:
    """Codes (n, kv_heads, D) and scales (n, kv_heads) of keys and values."""

    def __init__(self, kv_heads: int, head_size: int) -> None:
        self.keys = Rows(np.empty((0, kv_heads, head_size), np.int8), _no_scales(kv_heads))
        self.values = Rows(self.keys.codes, self.keys.scale)

    def put(self, keys: Rows, values: Rows) -> None:
        self.keys, self.values = (
            Rows(np.concatenate([old.codes, new.codes]), np.concatenate([old.scale, new.scale]))
            for old, new in ((self.keys, keys), (self.values, values))
        )


def _no_scales(kv_heads: int) -> Array:
    return np.empty((0, kv_heads), np.float32)


class KeyValueCache:
    """What attention keeps of the tokens of one sequence, in all layers."""

    def __init__(self, layers: int, kv_heads: int, head_size: int) -> None:
        self._shape = (kv_heads, head_size)
        self._layers = [_Layer(kv_heads, head_size) for _ in range(layers)]

    @in_default_mode
    def append(self, layer: int, k: Array, v: Array) -> None:
        """Keep keys and values (T, kv_heads * D) behind those of before."""
        heads, d = self._shape
        rows = key_rows(*(code_rows(x.reshape(len(x) * heads, d)) for x in (k, v)))
        shape = (len(k), heads)
        keys, values = (
            Rows(x.codes.astype(np.int8).reshape(*shape, d), x.scale.reshape(shape)) for x in rows
        )
        self._layers[layer].put(keys, values)

    def lengths(self) -> list[int]:
        """Return how many tokens each layer holds."""
        return [len(layer.keys.codes) for layer in self._layers]

    def truncate(self, tokens: int) -> None:
        """Forget all tokens behind the first so many."""
        for layer in self._layers:
            layer.keys, layer.values = (x.part(slice(tokens)) for x in (layer.keys, layer.values))

    def fork(self) -> KeyValueCache:
        """Return a cache of the same tokens, to be continued apart from this one."""
        other = KeyValueCache(len(self._layers), *self._shape)
        for mine, its in zip(self._layers, other._layers, strict=True):
            its.keys, its.values = mine.keys, mine.values
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        rows = (x for layer in self._layers for x in (layer.keys, layer.values))
        return sum(x.codes.nbytes + x.scale.nbytes for x in rows)

    def codes(self, layer: int) -> tuple[Array, Array, Array, Array]:
        """Return the codes (n, kv_heads, D) and scales (n, kv_heads) of keys, and of values."""
        keys, values = self._layers[layer].keys, self._layers[layer].values
        return keys.codes.copy(), keys.scale.copy(), values.codes.copy(), values.scale.copy()

    def restore(
        self, layer: int, k_codes: Array, k_scale: Array, v_codes: Array, v_scale: Array
    ) -> None:
        """Continue with what `codes` gave, behind what the layer holds."""
        self._layers[layer].put(Rows(k_codes, k_scale), Rows(v_codes, v_scale))

    def head(self, layer: int, head: int) -> tuple[Rows, Rows]:
        """Return the codes of one head, as float32."""
        held = self._layers[layer]
        return (
            Rows(held.keys.codes[:, head].astype(np.float32), held.keys.scale[:, head]),
            Rows(held.values.codes[:, head].astype(np.float32), held.values.scale[:, head]),
        )


@in_default_mode
def attention_cached(
    q: Array,
    offsets: Array,
    caches: list[KeyValueCache],
    layer: int,
    heads: int,
    window: int | None,
    sm_scale: float,
    out: Array,
) -> None:
    """Attention of the newest tokens of sequences to all that they see of their caches.

    Rows [offsets[s], offsets[s + 1]) of `q` (M, H * D) are the last tokens of cache s, which holds
    them already; each sees itself and what is before it, the `window` nearest of them if that is
    given.
    """
    queries, results = (x.reshape(len(x), heads, x.shape[1] // heads) for x in (q, out))
    for sequence, cache in enumerate(caches):
        rows = np.arange(offsets[sequence], offsets[sequence + 1])
        last = cache.lengths()[layer] - len(rows) + np.arange(1, len(rows) + 1)
        first = np.zeros_like(last) if window is None else np.maximum(last - window, 0)
        seen = np.stack([first, last], axis=1)
        for head in range(heads):
            pair = cache.head(layer, head * cache._shape[0] // heads)
            for start in range(0, len(rows), QUERIES_AT_ONCE):
                some = rows[start : start + QUERIES_AT_ONCE]
                asked = code_rows(queries[some, head])
                visible = seen[start : start + QUERIES_AT_ONCE]
                results[some, head] = attend(asked, *pair, None, visible, np.float32(sm_scale))
