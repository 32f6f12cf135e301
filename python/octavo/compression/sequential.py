# SPDX-License-Identifier: Apache-2.0
"""Calibrated pruning, layer after layer: each one's inputs come through what was pruned before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn
from octavo.compression.prune import prune_layer, require_finite, statistics_for
from octavo.compression.watch import Float32, Reached, watch
from octavo.models.tree import map_layers
from octavo.pruning import OutputFit

if TYPE_CHECKING:
    from octavo.compression.calibration import Batch
    from octavo.compression.prune import Chosen, Statistics
    from octavo.compression.recipe import Prune
    from octavo.models.encoder import Encoder

__all__ = ["prune_in_order"]

Finish = Callable[[str, nn.Module], nn.Module]
Say = Callable[[str, float], None]
Inputs = list[tuple[Any, ...]]
"""What a block or head is called with, batch by batch."""


def prune_in_order(
    model: Encoder,
    batches: list[Batch],
    prune: Prune,
    chosen: Chosen,
    finish: Finish,
    finish_pruned: Callable[[str, nn.FloatLinear], nn.Module],
    say: Say,
) -> Encoder:
    """Return a copy of a model, pruned with statistics of its own inputs.

    A block's layers are pruned in the order in which they are called; the calibration data then
    goes through the finished block once, and what comes out is kept for the next. Memory beside
    the model: the hidden states of the calibration data, and one layer's statistics.

    Parameters
    ----------
    model : Encoder
        Left as it is.
    batches : list of Batch
    prune : Prune
        With its method resolved.
    chosen : Chosen
        Which layers to prune.
    finish : callable
        ``finish(name, layer)`` makes the final form of a layer that is not pruned.
    finish_pruned : callable
        The same for a pruned one.
    say : callable
        Gets what is going on and the share that is done.
    """
    blocks = dict(model.blocks())
    parts = (*blocks, *dict(model.heads()))
    inside = tuple(f"{name}." for name in parts)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.FloatLinear) and chosen(name, layer):
            require_finite(name, layer)
    made = map_layers(model, lambda n, layer: layer if n.startswith(inside) else finish(n, layer))
    masks = [batch.mask for batch in batches]
    hidden = [made.embed(batch.ids, batch.types) for batch in batches]
    goals = hidden
    if prune.aim == "model":
        goals = [model.embed(batch.ids, batch.types) for batch in batches]
    for index, name in enumerate(parts):
        inputs, wanted = _calls(hidden, masks, name in blocks), _calls(goals, masks, name in blocks)
        # Shallow copies: to watch a layer is to replace it for a while.
        original = map_layers(model.get_submodule(name), lambda _, layer: layer)
        work = _Part(name, made.get_submodule(name), original, chosen)

        def progress(layer: str, share: float, before: int = index) -> None:
            say(f"pruning {layer}", (before + share) / len(parts))

        for layer_name, statistics in work.statistics(inputs, wanted, masks, prune, progress):
            pruned = prune_layer(layer_name, work.layer(layer_name), prune, statistics)
            work.replace(layer_name, finish_pruned(layer_name, pruned))
        finished = work.finished(finish)
        made.set_submodule(name, finished)
        if name in blocks:
            hidden = [finished(*one) for one in inputs]
            goals = [original(*one) for one in wanted] if prune.aim == "model" else hidden
    return made


def _calls(hidden: list[Float32], masks: list[Any], with_mask: bool) -> Inputs:
    if with_mask:
        return list(zip(hidden, masks, strict=True))
    return [(states,) for states in hidden]


class _Part:
    """A block or a head of the copy, whose layers are replaced one after the other.

    Parameters
    ----------
    name : str
        Its name in the model.
    module : Module
        Changed in place.
    original : Module
        The same with float layers; what the pruned layers aim at.
    chosen : Chosen
    """

    def __init__(self, name: str, module: nn.Module, original: nn.Module, chosen: Chosen) -> None:
        self._prefix = f"{name}."
        self._module = module
        self._original = original
        self._done: set[str] = set()
        leaves = [(path, leaf) for path, leaf in module.named_modules() if path]
        self._wanted = [path for path, leaf in leaves if chosen(self._prefix + path, leaf)]

    def layer(self, name: str) -> Any:
        """Return the layer of that full name."""
        return self._module.get_submodule(name.removeprefix(self._prefix))

    def replace(self, name: str, layer: nn.Module) -> None:
        """Put the final form of a pruned layer in its place."""
        self._module.set_submodule(name.removeprefix(self._prefix), layer)
        self._done.add(name)

    def finished(self, finish: Finish) -> nn.Module:
        """Return the module with all other layers in their final form too."""

        def transform(path: str, layer: nn.Module) -> nn.Module:
            name = self._prefix + path
            return layer if name in self._done else finish(name, layer)

        return map_layers(self._module, transform)

    def statistics(
        self, inputs: Inputs, wanted: Inputs, masks: list[Any], prune: Prune, progress: Say
    ) -> Iterator[tuple[str, Statistics]]:
        """Yield the layers in the order of their calls, and the statistics of each.

        What is yielded has to be replaced before the next is asked for.
        """
        groups = self._groups(inputs[0])
        for index, group in enumerate(groups):
            layers = [self._module.get_submodule(path) for path in group]
            found = statistics_for(prune, layers)
            for step, (one, goal, mask) in enumerate(zip(inputs, wanted, masks, strict=True)):
                name = self._prefix + group[0]
                progress(name, (index + step / len(inputs)) / len(groups))
                try:
                    self._take(found, group, one, goal, mask)
                except ValueError as error:
                    raise ValueError(f"layer {name!r}: calibration: {error}") from None
            start = 0
            for path, layer in zip(group, layers, strict=True):
                end = start + layer.out_features  # type: ignore[attr-defined]
                own = found.part(start, end) if isinstance(found, OutputFit) else found
                yield self._prefix + path, own
                start = end

    def _take(self, found: Statistics, group: list[str], one: Any, goal: Any, mask: Any) -> None:
        """Add one batch to the statistics of layers that read the same array."""
        seen = _seen(self._module, group, one, mask)
        if not isinstance(found, OutputFit):
            found.update(seen[group[0]][0])
            return
        original = _seen(self._original, group, goal, mask)
        targets = []
        for path in group:
            layer: Any = self._original.get_submodule(path)
            x, residual = original[path]
            y = nn.FloatLinear(layer.weight, layer.bias)(x)
            now = seen[path][1]
            if layer.activation == "none" and residual is not None and now is not None:
                # What is added to the result has gone astray too; the layer can make up for it.
                y += residual - now
            targets.append(y)
        found.update(seen[group[0]][0], np.concatenate(targets, axis=1))

    def _groups(self, one: tuple[Any, ...]) -> list[list[str]]:
        """Run the module once; group the wanted layers by the array that they read."""
        seen: list[tuple[str, Float32]] = []
        watch(self._module, self._wanted, one, lambda path, x, _: seen.append((path, x)))
        missing = set(self._wanted) - {path for path, _ in seen}
        if missing:
            name = self._prefix + min(missing)
            raise ValueError(f"layer {name!r}: the calibration data never reached it")
        groups: list[tuple[Float32, list[str]]] = []
        for path, x in seen:
            if groups and groups[-1][0] is x:
                groups[-1][1].append(path)
            else:
                groups.append((x, [path]))
        return [paths for _, paths in groups]


def _seen(
    module: nn.Module, paths: list[str], one: tuple[Any, ...], mask: Any
) -> dict[str, tuple[Float32, Float32 | None]]:
    """Return what layers read, and the residuals added to their results; rows of tokens only."""
    found: dict[str, tuple[Float32, Float32 | None]] = {}

    def rows(x: Float32) -> Float32:
        kept: Float32 = x[mask] if x.ndim == 3 else x[mask[:, 0]]
        return kept

    def see(path: str, x: Float32, residual: Float32 | None) -> None:
        found[path] = rows(x), None if residual is None else rows(residual)
        if len(found) == len(paths):
            raise Reached

    watch(module, paths, one, see)
    return found
