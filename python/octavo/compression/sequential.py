# SPDX-License-Identifier: Apache-2.0
"""Fitting layers to calibration data in order: each one's inputs come through those before it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from octavo import nn
from octavo._types import Float32
from octavo.algorithms.pruning import InputHessian, InputNorms, OutputFit
from octavo.compression.ranges import token_rows
from octavo.compression.work import Model, Progress
from octavo.data.batches import Batch
from octavo.nn import hooks
from octavo.nn.tree import map_layers

Inputs = list[tuple[Any, ...]]
"""What a block or head is called with, batch by batch."""

Statistics = InputNorms | InputHessian | OutputFit


class Fitter(Protocol):
    """A method that fits layers to what they read, one layer after the other.

    Attributes
    ----------
    doing : str
        What is going on, for progress: ``"pruning"``.
    aim : str, optional
        ``"model"``: each layer aims at what the float model has in its place; else at its own
        float output on the inputs that it gets.
    """

    doing: str
    aim: str | None

    def chosen(self, name: str, layer: nn.Module) -> bool:
        """Whether to fit this layer; blocks are asked for too."""

    def statistics(self, layers: Sequence[nn.Linear]) -> Statistics:
        """Return the empty statistics of layers that read the same input."""

    def reading(self, name: str) -> Hashable:
        """Return what tells `reads` of this layer from that of others; None for plain reading."""

    def scaled(self, name: str, x: Float32) -> Float32:
        """Return the input of a layer as its float weight is multiplied with it."""

    def reads(self, name: str, x: Float32) -> Float32:
        """Return the input of a layer as its final weight will be multiplied with it."""

    def fit(self, name: str, layer: nn.Linear, statistics: Statistics) -> nn.Module:
        """Return the final form of a chosen layer."""

    def materialize(self, name: str, layer: nn.Module) -> nn.Module:
        """Return the final form of another layer."""


def require_finite(name: str, layer: nn.Linear) -> None:
    """Raise if a weight holds NaN or infinity, before any long work."""
    if not np.isfinite(layer.weight).all():
        raise ValueError(f"layer {name!r}: weight: expected finite values, got NaN or infinity")


def fit_in_order(
    model: Model, batches: Iterable[Batch], fitter: Fitter, progress: Progress
) -> Model:
    """Return a copy of a float model whose layers are fitted with statistics of its own inputs.

    A block's layers are fitted in the order in which they are called; the calibration data then
    goes through the finished block once, and what comes out is kept for the next. Memory beside the
    model: the hidden states of the calibration data, and one layer's statistics.
    """
    blocks = dict(model.blocks())
    # A single layer, which gives logits, is no part: it would need as many goals as there are.
    heads = [name for name, head in model.heads() if any(True for _ in head.named_children())]
    parts = (*blocks, *heads)
    inside = tuple(f"{name}." for name in parts)
    for name, layer in model.named_modules():
        if nn.is_linear(layer, "float32") and fitter.chosen(name, layer):
            require_finite(name, layer)
    made: Any = map_layers(
        model, lambda n, layer: layer if n.startswith(inside) else fitter.materialize(n, layer)
    )
    kept = list(batches)
    masks = [batch.mask for batch in kept]
    hidden = [made.embed(batch.ids, batch.types) for batch in kept]
    goals = hidden
    if fitter.aim == "model":
        goals = [model.embed(batch.ids, batch.types) for batch in kept]
    for index, name in enumerate(parts):
        if name in blocks:
            inputs = list(map(made.block_inputs, hidden, masks))
            wanted = list(map(model.block_inputs, goals, masks))
        else:
            inputs = [(made.finish(states),) for states in hidden]
            wanted = [(model.finish(states),) for states in goals]
        original = model.get_submodule(name)
        work = _Part(name, made.get_submodule(name), original, fitter)

        def part_done(layer: str, share: float, before: int = index) -> None:
            progress(f"{fitter.doing} {layer}", (before + share) / len(parts))

        for layer_name, statistics in work.statistics(inputs, wanted, masks, part_done):
            fitted = fitter.fit(layer_name, work.layer(layer_name), statistics)
            work.replace(layer_name, fitted)
        finished = work.finished()
        made.set_submodule(name, finished)
        if name in blocks:
            hidden = [finished(*one) for one in inputs]
            goals = [original(*one) for one in wanted] if fitter.aim == "model" else hidden
    return made


class _Part:
    """A block or a head of the copy, whose layers are replaced, and what they aim at."""

    def __init__(self, name: str, module: nn.Module, original: nn.Module, fitter: Fitter) -> None:
        self._prefix = f"{name}."
        self._module = module
        self._original = original
        self._fitter = fitter
        self._done: set[str] = set()
        leaves = [(path, leaf) for path, leaf in module.named_modules() if path]
        self._wanted = [path for path, leaf in leaves if fitter.chosen(self._prefix + path, leaf)]

    def layer(self, name: str) -> Any:
        """Return the layer of that full name."""
        return self._module.get_submodule(name.removeprefix(self._prefix))

    def replace(self, name: str, layer: nn.Module) -> None:
        """Put the final form of a fitted layer in its place."""
        self._module.set_submodule(name.removeprefix(self._prefix), layer)
        self._done.add(name)

    def finished(self) -> nn.Module:
        """Return the module with all other layers in their final form too."""

        def transform(path: str, layer: nn.Module) -> nn.Module:
            name = self._prefix + path
            return layer if name in self._done else self._fitter.materialize(name, layer)

        return map_layers(self._module, transform)

    def statistics(
        self, inputs: Inputs, wanted: Inputs, masks: list[Any], progress: Progress
    ) -> Iterator[tuple[str, Statistics]]:
        """Yield the layers in the order of their calls, and the statistics of each.

        What is yielded has to be replaced before the next is asked for.
        """
        groups = self._groups(inputs[0])
        for index, group in enumerate(groups):
            layers: list[Any] = [self._module.get_submodule(path) for path in group]
            found = self._fitter.statistics(layers)
            for step, (one, goal, mask) in enumerate(zip(inputs, wanted, masks, strict=True)):
                name = self._prefix + group[0]
                progress(name, (index + step / len(inputs)) / len(groups))
                try:
                    self._take(found, group, one, goal, mask)
                except ValueError as error:
                    raise ValueError(f"layer {name!r}: calibration: {error}") from None
            start = 0
            for path, layer in zip(group, layers, strict=True):
                end = start + layer.out_features
                own = found.part(start, end) if isinstance(found, OutputFit) else found
                yield self._prefix + path, own
                start = end

    def _take(self, found: Statistics, group: list[str], one: Any, goal: Any, mask: Any) -> None:
        """Add one batch to the statistics of layers that read the same."""
        seen = _seen(self._module, group, one, mask)
        read = self._fitter.reads(self._prefix + group[0], seen[group[0]][0])
        if not isinstance(found, OutputFit):
            found.update(read)
            return
        original = _seen(self._original, group, goal, mask)
        targets = []
        for path in group:
            layer: Any = self._original.get_submodule(path)
            x, residual = original[path]
            scaled = self._fitter.scaled(self._prefix + path, x)
            y = nn.FloatLinear(layer.weight, layer.bias)(scaled)
            now = seen[path][1]
            if layer.activation == "none" and residual is not None and now is not None:
                # What is added to the result has gone astray too; the layer can make up for it.
                y += residual - now
            targets.append(y)
        found.update(read, np.concatenate(targets, axis=1))

    def _groups(self, one: tuple[Any, ...]) -> list[list[str]]:
        """Run the module once; group the wanted layers by the array that they read, and how."""
        seen: list[tuple[str, Float32]] = []
        with hooks.watching(self._module, self._wanted, lambda path, x, _: seen.append((path, x))):
            self._module(*one)
        missing = set(self._wanted) - {path for path, _ in seen}
        if missing:
            name = self._prefix + min(missing)
            raise ValueError(f"layer {name!r}: the calibration data never reached it")
        groups: list[tuple[Float32, Hashable, list[str]]] = []
        for path, x in seen:
            how = self._fitter.reading(self._prefix + path)
            if groups and groups[-1][0] is x and groups[-1][1] == how:
                groups[-1][2].append(path)
            else:
                groups.append((x, how, [path]))
        return [paths for _, _, paths in groups]


def _seen(
    module: nn.Module, paths: list[str], one: tuple[Any, ...], mask: Any
) -> dict[str, tuple[Float32, Float32 | None]]:
    """Return what layers read, and the residuals added to their results; rows of tokens only."""
    found: dict[str, tuple[Float32, Float32 | None]] = {}

    def see(path: str, x: Float32, residual: Float32 | None) -> None:
        rest = None if residual is None else token_rows(residual, mask)
        found[path] = token_rows(x, mask), rest
        if len(found) == len(paths):
            raise hooks.Reached

    with hooks.watching(module, paths, see):
        module(*one)
    return found
