# SPDX-License-Identifier: Apache-2.0
"""The steps of a program of the native module, one by one."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from operator import index
from typing import Any, NamedTuple

import numpy as np

from fuzz.arguments import build
from fuzz.native import OBJECTS, make

core: Any = importlib.import_module("octavo._core")

Array = np.ndarray[Any, np.dtype[Any]]


class Call(NamedTuple):
    """What a program is called with; caches are made for each call, of the tier that it runs on."""

    x: Any
    offsets: Any
    bias: Any
    positions: Any
    tables: Any
    caches: Any

    def with_caches(self) -> Call:
        """Make the caches."""
        if not isinstance(self.caches, list):
            return self
        return self._replace(caches=[_cache(*shape) for shape in self.caches])

    def held(self) -> list[Any]:
        """Return the codes of all caches."""
        layers = [(cache, i) for cache in self.caches for i in range(len(cache.lengths()))]
        return [part for cache, layer in layers for part in cache.codes(layer)]


Step = Callable[[list[Any], Call], Any]
"""Computes a value of the values before it, and what the program is called with."""


def _cache(layers: int, kv_heads: int, d: int, held: int) -> Any:
    made = core.KeyValueCache(layers, kv_heads, d)
    rows = np.sin(np.arange(held * kv_heads * d, dtype=np.float32)).reshape(held, kv_heads * d)
    for layer in range(layers):
        made.append(layer, rows, rows + layer)
    return made


def add_step(program: Any, call: dict[str, Any]) -> Step:
    """Add a step; return what computes the same."""
    name, arguments = call["call"], list(build(call["args"]).values())
    if name == "linear":
        layer = make(core, call["kind"], call["make"]) if call["kind"] in OBJECTS else None
        program.linear(layer, *arguments)
        x, addend, residual = arguments
        return lambda v, _: layer.run(v[index(x)], _at(v, residual), _at(v, addend), None)
    getattr(program, name)(*arguments)
    return _COMPUTE[name](*arguments)


def _at(values: list[Any], place: Any) -> Any:
    return None if place is None else values[index(place)]


def _like(x: Array, compute: Callable[..., Any], *arguments: Any) -> Array:
    out = np.empty_like(x)
    compute(*arguments, out)
    return out


def _layer_norm(weight: Any, bias: Any, eps: Any, x: Any, residual: Any) -> Step:
    def compute(v: list[Any], _: Call) -> Any:
        rows = v[index(x)]
        return _like(rows, core.layer_norm, rows, weight, bias, eps, _at(v, residual))

    return compute


def _rms_norm(weight: Any, eps: Any, x: Any, addend: Any) -> Step:
    def compute(v: list[Any], _: Call) -> Any:
        rows, added = v[index(x)], _at(v, addend)
        heads = rows.reshape(-1, len(weight))
        added = None if added is None else added.reshape(heads.shape)
        return _like(heads, core.rms_norm, heads, weight, eps, added).reshape(rows.shape)

    return compute


def _rotary(x: Any, heads: Any, table: Any) -> Step:
    def compute(v: list[Any], call: Call) -> Any:
        rows, tables = v[index(x)], call.tables[index(table)]
        return _like(rows, core.rotary, rows, *tables, call.positions, index(heads))

    return compute


def _gated(gate: Any, x: Any, name: Any) -> Step:
    return lambda v, _: _like(v[index(x)], core.gated, v[index(gate)], v[index(x)], name)


def _columns(x: Any, begin: Any, end: Any) -> Step:
    return lambda v, _: np.ascontiguousarray(v[index(x)][:, index(begin) : index(end)])


def _attention(q: Any, k: Any, v: Any, *options: Any) -> Step:
    heads, scale, int8, biased = options

    def compute(values: list[Any], call: Call) -> Any:
        longest = int(np.diff(call.offsets).max(initial=0))
        added = np.ascontiguousarray(call.bias[:, :longest, :longest]) if biased else None
        qkv = [values[index(one)][None] for one in (q, k, v)]
        rest = call.offsets, heads, heads, scale
        if int8:
            return _like(qkv[0], core.attention_int8, *qkv, None, added, None, *rest)[0]
        return _like(qkv[0], core.attention, *qkv, None, added, call.offsets, heads, scale)[0]

    return compute


def _attention_cached(q: Any, k: Any, v: Any, layer: Any, *options: Any) -> Step:
    heads, _, window, scale = options

    def compute(values: list[Any], call: Call) -> Any:
        rows, keys, new = (values[index(one)] for one in (q, k, v))
        for cache, (start, stop) in zip(call.caches, itertools.pairwise(call.offsets), strict=True):
            cache.append(layer, keys[start:stop], new[start:stop])
        if not call.caches:
            return np.empty_like(rows)
        rest = call.offsets, call.caches, layer, heads, window, scale
        return _like(rows, core.attention_cached, rows, *rest)

    return compute


_COMPUTE = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "rotary": _rotary,
    "gated": _gated,
    "columns": _columns,
    "attention": _attention,
    "attention_cached": _attention_cached,
}
