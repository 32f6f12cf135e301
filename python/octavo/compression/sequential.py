# SPDX-License-Identifier: Apache-2.0
"""Calibrated pruning, layer after layer: each one's inputs come through what was pruned before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo.compression.prune import prune_layer, statistics_for
from octavo.models.tree import map_layers

if TYPE_CHECKING:
    from octavo.compression.calibration import Batch
    from octavo.compression.prune import Chosen, Statistics
    from octavo.compression.recipe import Prune
    from octavo.models.encoder import Encoder

__all__ = ["prune_in_order"]

Float32 = npt.NDArray[np.float32]
Finish = Callable[[str, nn.Module], nn.Module]
Say = Callable[[str, float], None]


class _Reached(Exception):  # noqa: N818  (no error: the rest of the block is not needed)
    """The inputs that were wanted have been seen."""


class _Watched(nn.Module):
    """A linear layer that shows its inputs before it computes."""

    def __init__(self, layer: nn.FloatLinear, see: Callable[[Float32], None]) -> None:
        self.layer = layer
        self._see = see

    def __call__(self, x: Float32, residual: Float32 | None = None) -> Float32:
        self._see(x)
        return self.layer(x, residual)


def prune_in_order(
    model: Encoder,
    batches: list[Batch],
    prune: Prune,
    method: str,
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
    prune, method, chosen
        What to do to which layers.
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
    made = map_layers(model, lambda n, layer: layer if n.startswith(inside) else finish(n, layer))
    hidden = [made.embed(batch.ids, batch.types) for batch in batches]
    masks = [batch.mask for batch in batches]
    for index, name in enumerate(parts):
        work = _Part(name, made.get_submodule(name), masks, chosen)
        inputs: list[tuple[Any, ...]] = [(states,) for states in hidden]
        if name in blocks:
            inputs = [(*one, mask) for one, mask in zip(inputs, masks, strict=True)]

        def progress(layer: str, share: float, before: int = index) -> None:
            say(f"pruning {layer}", (before + share) / len(parts))

        for group, statistics in work.statistics(inputs, method, progress):
            for layer_name in group:
                pruned = prune_layer(
                    layer_name, work.layer(layer_name), prune, method, statistics
                )
                work.replace(layer_name, finish_pruned(layer_name, pruned))
        finished = work.finished(finish)
        made.set_submodule(name, finished)
        if name in blocks:
            hidden = [finished(*one) for one in inputs]
    return made


class _Part:
    """A block or a head of the copy, whose layers are replaced one after the other.

    Parameters
    ----------
    name : str
        Its name in the model.
    module : Module
        Changed in place.
    masks : list of bool arrays, shape (batch, tokens)
        Where there are tokens; padding is not counted.
    chosen : Chosen
    """

    def __init__(
        self, name: str, module: nn.Module, masks: list[npt.NDArray[np.bool_]], chosen: Chosen
    ) -> None:
        self._prefix = f"{name}."
        self._module = module
        self._masks = masks
        self._done: set[str] = set()
        leaves = {self._prefix + path: leaf for path, leaf in module.named_modules() if path}
        self._wanted = [full for full, leaf in leaves.items() if chosen(full, leaf)]

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
        self, inputs: list[tuple[Any, ...]], method: str, progress: Say
    ) -> Iterator[tuple[list[str], Statistics]]:
        """Yield layers that read the same array, in the order of their calls, and its statistics.

        What is yielded has to be replaced before the next is asked for.
        """
        groups = self._groups(inputs[0])
        for index, group in enumerate(groups):
            found = statistics_for(method, self.layer(group[0]).in_features)

            def see(x: Float32, rows: npt.NDArray[np.bool_], found: Statistics = found) -> None:
                found.update(x[rows] if x.ndim == 3 else x[rows[:, 0]])
                raise _Reached

            for step, (one, mask) in enumerate(zip(inputs, self._masks, strict=True)):
                progress(group[0], (index + step / len(inputs)) / len(groups))
                self._watch(group[:1], one, lambda _, x, rows=mask: see(x, rows))
            yield group, found

    def _groups(self, one: tuple[Any, ...]) -> list[list[str]]:
        """Run the module once; group the wanted layers by the array that they read."""
        seen: list[tuple[str, Float32]] = []
        self._watch(self._wanted, one, lambda name, x: seen.append((name, x)))
        missing = set(self._wanted) - {name for name, _ in seen}
        if missing:
            raise ValueError(f"layer {min(missing)!r}: the calibration data never reached it")
        groups: list[tuple[Float32, list[str]]] = []
        for name, x in seen:
            if groups and groups[-1][0] is x:
                groups[-1][1].append(name)
            else:
                groups.append((x, [name]))
        return [names for _, names in groups]

    def _watch(
        self, names: list[str], one: tuple[Any, ...], see: Callable[[str, Float32], None]
    ) -> None:
        """Run the module with some layers watched; `see` may end the run."""
        layers = {name: self.layer(name) for name in names}
        try:
            for name, layer in layers.items():
                path = name.removeprefix(self._prefix)
                self._module.set_submodule(path, _Watched(layer, partial(see, name)))
            self._module(*one)
        except _Reached:
            pass
        except ValueError as error:
            raise ValueError(f"layer {names[0]!r}: calibration: {error}") from None
        finally:
            for name, layer in layers.items():
                self._module.set_submodule(name.removeprefix(self._prefix), layer)
