# SPDX-License-Identifier: Apache-2.0
"""The blocks of a model in as few native calls as they allow."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from octavo import _backend, nn
from octavo._types import Float32, Mask
from octavo.models import packing
from octavo.models.packing import Packed
from octavo.models.tokens import Tokens, TracedTokens
from octavo.nn.module import last_change
from octavo.nn.traced import Trace


class FusedParts:
    """Neighbouring blocks as one native program; called like one of them.

    The results have the bits of the blocks called one by one, which is also what runs where the
    program cannot.
    """

    stand_in: ClassVar[Any]
    """What blocks get in the place of mask or tokens while they are written down."""

    def __init__(self, blocks: Sequence[nn.Module], trace: Trace) -> None:
        self._blocks, self._program, self._tables = blocks, trace.program(), trace.tables

    def _one_by_one(self, states: Float32, *arguments: Any) -> Float32:
        for block in self._blocks:
            states = block(states, *arguments)
        return states


class FusedBlocks(FusedParts):
    """Blocks of an encoder; a program knows no mask that leaves out tokens between others."""

    stand_in = None

    def __call__(
        self, hidden: Float32, mask: Mask | Packed | None, bias: Float32 | None = None
    ) -> Float32:
        """Compute what the last block gives, of states (batch, tokens, width)."""
        batch, tokens, width = hidden.shape
        if isinstance(mask, Packed):
            offsets = mask.offsets
        elif mask is None:
            offsets = np.arange(batch + 1, dtype=np.int64) * tokens
        else:
            return self._one_by_one(hidden, mask, *(() if bias is None else (bias,)))
        rows = np.ascontiguousarray(hidden).reshape(batch * tokens, width)
        made: Float32 = self._program.run(rows, offsets, bias)
        return made.reshape(batch, tokens, -1)


class FusedLayers(FusedParts):
    """Layers of a decoder; a program knows no keys and values in float32."""

    stand_in = TracedTokens()

    def __call__(self, states: Float32, tokens: Tokens) -> Float32:
        """Compute what the last layer gives, of states (rows, width)."""
        if tokens.in_float:
            return self._one_by_one(states, tokens)
        ropes: list[Any] = self._tables
        tables = [tokens.table(rope) for rope in ropes]
        made: Float32 = self._program.run(
            states, tokens.offsets, None, tokens.places, tables, tokens.caches
        )
        return made


class Fused:
    """What runs a model's blocks, as they were: `parts`, called one after the other.

    Attributes
    ----------
    parts : list of FusedParts and Module
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        width: int,
        options: tuple[Any, ...],
        form: type[FusedParts],
    ) -> None:
        # Read before the blocks are: what changes meanwhile is seen at the next call.
        self._change, self._backend = last_change(), _backend.backend
        self._blocks = tuple(blocks)
        self.parts = list(_parts(blocks, width, options, form))

    @property
    def tokens(self) -> int:
        """How many tokens go through the parts together."""
        whole = all(isinstance(part, FusedParts) for part in self.parts)
        return packing.FUSED_TOKENS if whole else packing.SLICE_TOKENS

    def holds(self, blocks: Sequence[nn.Module]) -> bool:
        """Whether the model's blocks are still what they were."""
        return (
            self._change is last_change()
            and self._backend is _backend.backend
            and len(blocks) == len(self._blocks)
            and all(map(_same, blocks, self._blocks))
        )


def _same(one: nn.Module, other: nn.Module) -> bool:
    return one is other


def _parts(
    blocks: Sequence[nn.Module], width: int, options: tuple[Any, ...], form: type[FusedParts]
) -> Iterable[Any]:
    together: list[nn.Module] = []
    trace = Trace(width)
    for block in blocks:
        if hasattr(_backend.backend, "Program") and trace.take(block, form.stand_in, *options):
            together.append(block)
            continue
        yield from _together(together, trace, form)
        together, trace = [], Trace(width)
        yield block
    yield from _together(together, trace, form)


def _together(blocks: list[nn.Module], trace: Trace, form: type[FusedParts]) -> Sequence[Any]:
    if not blocks:
        return ()
    try:
        return (form(tuple(blocks), trace),)
    except (TypeError, ValueError):
        # Parts of another dtype or shape than they were made with: blocks convert, or complain.
        return blocks


# Not an attribute of the model, with which copies would keep the layers of another alive.
_of_models: WeakKeyDictionary[nn.Module, dict[Hashable, Fused]] = WeakKeyDictionary()


def fused(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    width: int,
    options: Callable[[int], tuple[Any, ...]],
    adapter: Hashable,
    form: type[FusedParts] = FusedBlocks,
) -> Fused:
    """Return what runs the blocks of a model, made anew where one of them has changed.

    Parameters
    ----------
    model : Module
        What the result is kept for.
    blocks : sequence of Module
    width : int
        Of the states they read.
    options : callable
        What they are called with beside states and mask or tokens, for rows of so many tokens.
    adapter : hashable
        `Adapted.adapter_key` of the model: layers write down what the one in use adds.
    form : type of FusedParts
        What calls the program.
    """
    held = _of_models.get(model, {})
    found = held.get(adapter)
    if found is None or not found.holds(blocks):
        found = Fused(blocks, width, options(1), form)
        others = {name: one for name, one in held.items() if one.holds(blocks)}
        _of_models[model] = {**others, adapter: found}
    return found
