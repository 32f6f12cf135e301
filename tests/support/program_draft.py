# SPDX-License-Identifier: Apache-2.0
"""Random programs of the native module, and what their steps give one by one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from native import core
from octavo import functional
from reference import assert_same_bits

HEADS = 4
WIDTHS = (28, 32, 80)
KV_HEADS, HEAD_SIZE, LAYERS = 2, 8, 3
_PAIRS = (3, 1)  # of tables; the narrowest head has 7 values


def packed_linear(rng: np.random.Generator, n: int, k: int, **options: Any) -> Any:
    codes = rng.integers(-127, 128, (n, k), np.int8)
    if options.get("format", "dense") != "dense":
        codes[rng.random((n, k)) < 0.8] = 0
    settings: dict[str, Any] = dict.fromkeys(("input_scale", "output_scale"))
    settings |= dict.fromkeys(("input_zero_point", "output_zero_point"), 0)
    settings |= {"activation": "none", "symmetric": False} | options
    scale = rng.uniform(0.001, 0.01, n).astype(np.float32)
    return core.PackedLinear(codes, scale, rng.normal(0, 1, n).astype(np.float32), **settings)


def float_linear(rng: np.random.Generator, n: int, k: int) -> Any:
    weight = core.PackedF32(rng.normal(0, 0.3, (n, k)).astype(np.float32))
    multiplier = rng.uniform(0.5, 2, k).astype(np.float32) if rng.random() < 0.2 else None
    return core.LinearF32(weight, rng.normal(0, 1, n).astype(np.float32), "gelu", multiplier)


def random_options(rng: np.random.Generator, k: int) -> dict[str, Any]:
    """Mostly the same, so that neighbours read the same codes."""
    options: dict[str, Any] = {"activation": rng.choice(["none", "gelu", "relu"])}
    kind = rng.integers(0, 6)
    if kind == 0:
        options["symmetric"] = True
    elif kind == 1:
        options |= {"input_scale": 0.05, "input_zero_point": 3}
    elif kind == 2:
        options["input_multiplier"] = np.full(k, 0.5, np.float32)
    return options


class Draft:
    """A program, and the calls that it stands for."""

    def __init__(self, rng: np.random.Generator, lengths: tuple[int, ...], biased: bool) -> None:
        self.rng, self.attends = rng, False
        self.offsets, longest = np.concatenate([[0], np.cumsum(lengths)]), max(lengths)
        self.bias = rng.normal(0, 1, (HEADS, longest, longest)).astype(np.float32)
        self.bias = self.bias if biased else None
        held = rng.integers(0, 40, len(lengths))
        self.positions = np.concatenate(
            [start + np.arange(length) for start, length in zip(held, lengths, strict=True)]
        )
        self.tables: list[Any] = []
        self.filled, self.caches = [self.cache(int(count)) for count in held], []
        x = self.normal(int(self.offsets[-1]), WIDTHS[0])
        self.program, self.values = core.Program(WIDTHS[0]), [x]
        self.made: list[int] = []

    def normal(self, *shape: int) -> Any:
        return self.rng.normal(0, 1, shape).astype(np.float32)

    def cache(self, tokens: int) -> Any:
        made = core.KeyValueCache(LAYERS, KV_HEADS, HEAD_SIZE)
        for layer in range(LAYERS):
            made.append(layer, *self.normal(2, tokens, KV_HEADS * HEAD_SIZE))
        return made

    def some(self, width: int | None = None) -> int:
        """A value, of this width if one is given; mostly a late one, so that memory is reused."""
        fitting = [i for i, v in enumerate(self.values) if width in (None, v.shape[1])]
        return fitting[-1 - min(int(self.rng.exponential(2)), len(fitting) - 1)]

    def maybe(self, width: int) -> int | None:
        there = any(value.shape[1] == width for value in self.values)
        return self.some(width) if there and self.rng.random() < 0.5 else None

    def value(self, index: int | None) -> Any:
        return None if index is None else self.values[index]

    def put(self, made: int, value: Any) -> None:
        assert made == len(self.values)
        self.made.append(made)
        self.values.append(value)

    def finish(self) -> Any:
        """Finish with a value that a step makes, mostly the last; return it."""
        result = self.made[-1 - min(int(self.rng.exponential(2)), len(self.made) - 1)]
        self.program.finish(result)
        return self.values[result]

    def run(self, x: Any, threads: int) -> Any:
        """Run the program on so many threads; caches must be what they are one by one."""
        caches = [cache.fork() for cache in self.filled] if self.caches else []
        before = core.get_num_threads()
        core.set_num_threads(threads)
        try:
            positions = self.positions if self.tables else None
            bias = self.bias if self.attends else None
            made = self.program.run(x, self.offsets, bias, positions, self.tables, caches)
        finally:
            core.set_num_threads(before)
        for cache, expected in zip(caches, self.caches, strict=True):
            for layer in range(LAYERS):
                for part, wanted in zip(cache.codes(layer), expected.codes(layer), strict=True):
                    assert_same_bits(part, wanted)
        return made

    def step(self) -> None:
        steps = ("linears", "linears", "norm", "rms", "turn", "gate", "attention", "cached")
        getattr(self, self.rng.choice(steps))()

    def linears(self) -> None:
        """Some layers that read the same value, some of them each other's results too."""
        x = self.some()
        k = self.values[x].shape[1]
        options = random_options(self.rng, k)
        for _ in range(self.rng.integers(1, 7)):
            n = int(self.rng.choice(WIDTHS))
            own = random_options(self.rng, k) if self.rng.random() < 0.4 else options
            layer, addend, residual = (
                packed_linear(self.rng, n, k, **own),
                self.maybe(n),
                self.maybe(n),
            )
            made = self.program.linear(layer, x, addend, residual)
            self.put(made, layer.run(self.values[x], self.value(residual), self.value(addend)))

    def norm(self) -> None:
        x = self.some()
        n = self.values[x].shape[1]
        weight = self.rng.normal(1, 0.1, n).astype(np.float32)
        bias = self.normal(n) if self.rng.random() < 0.7 else None
        residual = self.maybe(n)
        made = self.program.layer_norm(weight, bias, 1e-5, x, residual)
        expected = functional.layer_norm(self.values[x], weight, bias, 1e-5, self.value(residual))
        self.put(made, expected)

    def rms(self) -> None:
        """A norm of whole rows, or of each head."""
        x = self.some()
        rows = self.values[x]
        n = rows.shape[1] // int(self.rng.choice([1, 1, 2, HEADS]))
        addend, weight = self.maybe(rows.shape[1]), self.normal(n)
        made = self.program.rms_norm(weight, 1e-6, x, addend)
        heads, added = (
            None if one is None else np.reshape(one, (len(rows), -1, n))
            for one in (rows, self.value(addend))
        )
        self.put(made, functional.rms_norm(heads, weight, 1e-6, added).reshape(rows.shape))

    def turn(self) -> None:
        x, table = self.some(), int(self.rng.integers(0, len(_PAIRS)))
        table = min(table, len(self.tables))
        if table == len(self.tables):
            shape = (int(self.positions.max(initial=0)) + 1, _PAIRS[table])
            self.tables.append((self.normal(*shape), self.normal(*shape)))
        rows, heads = self.values[x], int(self.rng.choice([1, 2, HEADS]))
        made = self.program.rotary(x, heads, table)
        turned = functional.rotary_embedding(rows, *self.tables[table], self.positions, heads)
        self.put(made, turned)

    def gate(self) -> None:
        gate = self.some()
        x, name = self.some(self.values[gate].shape[1]), str(self.rng.choice(["silu", "gelu"]))
        made = self.program.gated(gate, x, name)
        self.put(made, functional.gated(self.values[gate], self.values[x], name))

    def columns(self, width: int) -> int:
        """So many columns of a value, or of some columns of one."""
        wide = [i for i, value in enumerate(self.values) if value.shape[1] >= width]
        x = int(self.rng.choice(wide))
        begin = int(self.rng.integers(0, self.values[x].shape[1] - width + 1))
        made = self.program.columns(x, begin, begin + width)
        assert made == len(self.values)
        self.values.append(np.ascontiguousarray(self.values[x][:, begin : begin + width]))
        return made

    def attention(self) -> None:
        q = self.some()
        width = self.values[q].shape[1]
        k, v = self.some(width), self.some(width)
        int8, biased = bool(self.rng.random() < 0.7), self.bias is not None
        made = self.program.attention(q, k, v, HEADS, 0.25, int8, biased)
        self.attends = True
        attend: Any = functional.attention_int8 if int8 else functional.attention
        mixed = attend(
            *(self.values[one][None] for one in (q, k, v)),
            bias=self.bias,
            heads=HEADS,
            scale=0.25,
            offsets=self.offsets,
        )
        self.put(made, mixed[0])

    def cached(self) -> None:
        if all(value.shape[1] < HEADS * HEAD_SIZE for value in self.values):
            return
        q, k, v = (self.columns(heads * HEAD_SIZE) for heads in (HEADS, KV_HEADS, KV_HEADS))
        layer, window = int(self.rng.integers(0, LAYERS)), self.rng.choice([None, 5])
        made = self.program.attention_cached(q, k, v, layer, HEADS, KV_HEADS, window, 0.25)
        if not self.caches:
            self.caches = [cache.fork() for cache in self.filled]
        for cache, ends in zip(self.caches, pairwise(self.offsets), strict=True):
            cache.append(layer, *(self.values[one][slice(*ends)] for one in (k, v)))
        out = np.empty_like(self.values[q])
        core.attention_cached(
            self.values[q], self.offsets, self.caches, layer, HEADS, window, 0.25, out
        )
        self.put(made, out)
