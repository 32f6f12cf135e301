# SPDX-License-Identifier: Apache-2.0
"""Layers written down instead of computed, so that one native call can run them.

A module that is called with a `Traced` in the place of an array calls its layers as ever; each of
them adds a step to the trace, and gives the `Traced` that stands for its result.  Whatever else is
done with one raises `NotTraceableError`, and the module runs as it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from octavo import _backend, _checks, functional
from octavo.nn.hooks import handles_of
from octavo.nn.module import Module
from octavo.nn.weights.float32 import NativeProduct

if TYPE_CHECKING:
    from collections.abc import Hashable

    from octavo.nn.linear import Linear
    from octavo.nn.norm import LayerNorm, RMSNorm


class NotTraceableError(TypeError):
    """What was done to a `Traced` is no step of a program."""


class Traced:
    """What stands for an array (..., width) while layers are written down."""

    __array_ufunc__ = None
    __array_function__ = None

    def __init__(self, trace: Trace, index: int, width: int) -> None:
        self.trace, self.index, self.width = trace, index, width

    def __getattr__(self, name: str) -> Any:
        raise NotTraceableError(f"a traced value has no {name!r}")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotTraceableError("a traced value is no array")

    def __getitem__(self, index: Any) -> Traced:
        """Return some columns, ``[..., begin:end]``."""
        columns = index[1] if isinstance(index, tuple) and len(index) == 2 else None
        if not isinstance(columns, slice) or index[0] is not ... or columns.step is not None:
            raise NotTraceableError("only columns are values of their own")
        begin, end, _ = columns.indices(self.width)
        if begin >= end:
            raise NotTraceableError("no columns are no value")
        return self.trace.add("columns", (self.index, begin, end), end - begin)

    def linear(self, layer: Linear, residual: Any, addend: Any, out: Any) -> Traced:
        """Write down a linear layer that reads this."""
        if layer.side_path is not None or out is not None or layer.options.output_scale is not None:
            raise NotTraceableError("only plain linear layers are steps")
        return self.product(layer.bound, layer.shape, addend, residual)

    def product(
        self, bound: Any, shape: tuple[int, int], addend: Any, residual: Any = None
    ) -> Traced:
        """Write down what a weight (N, K) is bound to, of rows of this."""
        n, k = shape
        if self.width != k:
            raise NotTraceableError("the layer reads another width")
        added = (self._index_of(addend, n), self._index_of(residual, n))
        return self.trace.add("linear", (_native(bound), self.index, *added), n)

    def layer_norm(self, norm: LayerNorm, residual: Any, out: Any) -> Traced:
        """Write down a norm that reads this."""
        if out is not None:
            raise NotTraceableError("a step has no out")
        if norm.shape != (self.width,):
            raise NotTraceableError("the norm reads another width")
        added = self._index_of(residual, self.width)
        arguments = (norm.weight, norm.bias, norm.eps, self.index, added)
        return self.trace.add("layer_norm", arguments, self.width)

    def rms_norm(self, norm: RMSNorm, addend: Any, out: Any) -> Traced:
        """Write down a norm that reads this, or each of the heads that this is made of."""
        if out is not None:
            raise NotTraceableError("a step has no out")
        if self.width % norm.weight.size:
            raise NotTraceableError("the norm reads another width")
        arguments = (norm.weight, norm.eps, self.index, self._index_of(addend, self.width))
        return self.trace.add("rms_norm", arguments, self.width)

    def rotary(self, table: Hashable, heads: int) -> Traced:
        """Write down that heads are turned by the table that a call has for this key."""
        if heads < 1 or self.width % heads:
            raise NotTraceableError("heads do not divide the width")
        if table not in self.trace.tables:
            self.trace.tables.append(table)
        place = self.trace.tables.index(table)
        return self.trace.add("rotary", (self.index, heads, place), self.width)

    def gated(self, x: Any, activation: str) -> Traced:
        """Write down that this is the gate of another value."""
        arguments = (self.index, self._index_of(x, self.width), activation)
        return self.trace.add("gated", arguments, self.width)

    def attention_cached(
        self, k: Any, v: Any, layer: int, heads: int, window: int | None, scale: float
    ) -> Traced:
        """Write down that keys and values are kept, and attention of these queries to all."""
        if heads < 1 or self.width % heads or not isinstance(k, Traced):
            raise NotTraceableError("heads do not divide the width")
        kv_heads = k.width // (self.width // heads)
        keys, values = self._index_of(k, k.width), self._index_of(v, k.width)
        arguments = (self.index, keys, values, layer, heads, kv_heads, window, scale)
        return self.trace.add("attention_cached", arguments, self.width)

    def attention(self, k: Any, v: Any, *, heads: int, int8: bool, biased: bool) -> Traced:
        """Write down attention of these queries; `biased` by what the program is called with."""
        keys, values = self._index_of(k, self.width), self._index_of(v, self.width)
        if heads < 1 or self.width % heads:
            raise NotTraceableError("heads do not divide the width")
        scale = _checks.float32_value(1.0 / math.sqrt(self.width // heads))
        arguments = (self.index, keys, values, heads, scale, int8, biased)
        return self.trace.add("attention", arguments, self.width)

    def _index_of(self, value: Any, width: int) -> int | None:
        if value is None:
            return None
        own = isinstance(value, Traced) and value.trace is self.trace
        if not own or value.width != width:
            raise NotTraceableError("a step reads values of its own trace, as wide as it wants")
        return value.index


class Trace:
    """Steps, and the numbers of the values that they make; value 0 is the input.

    Attributes
    ----------
    result : Traced
    tables : list of hashable
        Keys of the tables of rotary positions that a call has, in their order.
    """

    def __init__(self, width: int) -> None:
        self.result = Traced(self, 0, width)
        self.tables: list[Hashable] = []
        self._width = width
        self._steps: list[tuple[str, tuple[Any, ...]]] = []

    def add(self, step: str, arguments: tuple[Any, ...], width: int) -> Traced:
        """Write down a step."""
        self._steps.append((step, arguments))
        return Traced(self, len(self._steps), width)

    def take(self, module: Module, *arguments: Any) -> bool:
        """Write down what a module makes of the result; whether that was possible."""
        if not all(_is_own(part) for _, part in module.named_modules()):
            return False
        steps, tables = len(self._steps), len(self.tables)
        try:
            made = module(self.result, *arguments)
        except (TypeError, ValueError, AttributeError):
            made = None
        if not isinstance(made, Traced) or made.trace is not self:
            del self._steps[steps:], self.tables[tables:]
            return False
        self.result = made
        return True

    def program(self) -> Any:
        """Return the program of all steps."""
        made = _backend.backend.Program(self._width)
        for step, arguments in self._steps:
            getattr(made, step)(*arguments)
        made.finish(self.result.index)
        return made


def gated(gate: Any, x: Any, activation: str) -> Any:
    """Compute `octavo.functional.gated`, or write it down."""
    if isinstance(gate, Traced):
        return gate.gated(x, activation)
    return functional.gated(gate, x, activation)


def _native(bound: Any) -> Any:
    """Return what the native module computes a bound weight with."""
    if isinstance(bound, NativeProduct):
        return bound.native()
    if isinstance(bound, getattr(_backend.backend, "PackedLinear", ())):
        return bound
    raise NotTraceableError(f"no step is a product of a {type(bound).__name__}")


def _is_own(module: Module) -> bool:
    """Whether a module is of a class of this package, which tracing calls once, and not watched."""
    return type(module).__module__.partition(".")[0] == "octavo" and not handles_of(module)
