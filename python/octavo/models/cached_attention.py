# SPDX-License-Identifier: Apache-2.0
"""Keys and values that are kept in float32, and attention to them; int8 ones are a backend's."""

from __future__ import annotations

import numpy as np

from octavo import functional
from octavo._types import Float32

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


class PassingKeyValues(FloatKeyValues):
    """Keys and values of one layer at a time: those of whole texts, which are not continued."""

    def __init__(self, kv_heads: int, head_size: int) -> None:
        super().__init__(1, kv_heads, head_size)

    def append(self, layer: int, k: Float32, v: Float32) -> None:  # noqa: ARG002
        """Take rows in the place of those of before."""
        self.truncate(0)
        super().append(0, k, v)

    def attend(
        self,
        q: Float32,
        layer: int,  # noqa: ARG002
        heads: int,
        window: int | None,
        scale: float,
        out: Float32,
    ) -> None:
        """Attend of each row to those that it sees."""
        super().attend(q, 0, heads, window, scale, out)
