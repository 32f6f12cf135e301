# SPDX-License-Identifier: Apache-2.0
"""Pruning the linear layers of a model, by what a recipe says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn
from octavo.algorithms import pruning
from octavo.algorithms.pruning import InputHessian, InputNorms, OutputFit
from octavo.algorithms.pruning.arguments import DAMPING
from octavo.compression.name_patterns import NamePatterns
from octavo.compression.sequential import Statistics, fit_in_order, require_finite
from octavo.models.config import HEADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from octavo.compression.recipe import Prune
    from octavo.data.batches import Batch
    from octavo.models.encoder import Encoder

__all__ = ["Chosen", "global_masks", "masked", "prune_in_order", "prune_layer"]


class Chosen:
    """Which layers a recipe prunes; it remembers which of the excluded names it met."""

    def __init__(self, prune: Prune) -> None:
        self._excluded = NamePatterns(prune.exclude, "prune.exclude", "float linear layers")
        self._found = False

    def __call__(self, name: str, layer: nn.Module) -> bool:
        """Whether this layer is to be pruned."""
        if not nn.is_linear(layer, "float32") or f"{name}.".startswith(HEADS):
            return False
        is_chosen = name not in self._excluded
        self._found |= is_chosen
        return is_chosen

    def check(self) -> None:
        """Raise if a name was never met, or nothing was pruned."""
        self._excluded.check()
        if not self._found:
            raise ValueError("model: expected float linear layers to prune, got none")


def prune_in_order(
    model: Encoder,
    batches: Iterable[Batch],
    prune: Prune,
    chosen: Chosen,
    finish: Callable[[str, nn.Module], nn.Module],
    finish_pruned: Callable[[str, nn.Linear], nn.Module],
    progress: Callable[[str, float], None],
) -> Encoder:
    """Return a copy of a model, pruned with statistics of its own inputs; see `fit_in_order`.

    Parameters
    ----------
    model : Encoder
        Left as it is.
    batches : iterable of Batch
    prune : Prune
        With its method resolved.
    chosen : Chosen
        Which layers to prune.
    finish : callable
        ``finish(name, layer)`` makes the final form of a layer that is not pruned.
    finish_pruned : callable
        The same for a pruned one.
    progress : callable
        Gets what is going on and the share that is done.
    """
    return fit_in_order(model, batches, _Pruner(prune, chosen, finish, finish_pruned), progress)


class _Pruner:
    """Pruning as a `Fitter`."""

    doing = "pruning"

    def __init__(
        self,
        prune: Prune,
        chosen: Chosen,
        finish: Callable[[str, nn.Module], nn.Module],
        finish_pruned: Callable[[str, nn.Linear], nn.Module],
    ) -> None:
        self._prune = prune
        self._finish_pruned = finish_pruned
        self.aim = prune.aim
        self.chosen = chosen
        self.finish = finish

    def statistics(self, layers: Sequence[nn.Linear]) -> Statistics:
        width = layers[0].in_features
        if self._prune.method == "wanda":
            return InputNorms(width)
        if self._prune.aim == "layer":
            return InputHessian(width)
        return OutputFit(width, sum(layer.out_features for layer in layers))

    def reading(self, _: str) -> None:
        return None

    def scaled(self, _: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x

    reads = scaled

    def fit(self, name: str, layer: nn.Linear, statistics: Statistics) -> nn.Module:
        return self._finish_pruned(name, prune_layer(name, layer, self._prune, statistics))


def prune_layer(
    name: str, layer: nn.Linear, prune: Prune, statistics: Statistics | None = None
) -> nn.Linear:
    """Return a pruned copy of a layer; errors name it.

    Parameters
    ----------
    name : str
    layer : Linear
        Float.
    prune : Prune
        With its method resolved.
    statistics : InputNorms, InputHessian or OutputFit
        Of the layer, for all methods but magnitude.
    """
    try:
        if statistics is None:
            return masked(layer, _by_magnitude(layer, prune))
        structure: dict[str, Any] = {
            "sparsity": prune.sparsity,
            "pattern": prune.pattern,
            "block": prune.block,
        }
        if isinstance(statistics, InputNorms):
            return masked(layer, pruning.wanda(layer.weight, statistics, **structure))
        damping = DAMPING if prune.damping is None else prune.damping
        fit = pruning.admm if prune.method == "admm" else pruning.sparsegpt
        if isinstance(statistics, InputHessian):
            weight = fit(layer.weight, statistics, damping=damping, **structure)
            return layer.replace(weight=layer.held_weight.like(weight))
        dense, hessian = statistics.solve(layer.weight, damping)
        weight = fit(dense, hessian, damping=damping, **structure).astype(np.float32)
        return layer.replace(weight=layer.held_weight.like(weight), bias=statistics.bias(weight))
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None


def _by_magnitude(layer: nn.Linear, prune: Prune) -> NDArray[np.bool_]:
    if prune.pattern is not None:
        return pruning.nm(layer.weight, *prune.pattern)
    assert prune.sparsity is not None
    if prune.block is not None:
        return pruning.block(layer.weight, prune.sparsity, *prune.block)
    return pruning.magnitude(layer.weight, prune.sparsity)


def global_masks(
    layers: Iterable[tuple[str, nn.Module]], prune: Prune, chosen: Chosen
) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of all chosen layers, by one threshold."""
    assert prune.sparsity is not None
    picked = [
        (name, layer)
        for name, layer in layers
        if chosen(name, layer) and nn.is_linear(layer, "float32")
    ]
    for name, layer in picked:
        require_finite(name, layer)
    weights = [layer.weight for _, layer in picked]
    if prune.block is None:
        masks = pruning.magnitude_global(weights, prune.sparsity)
    else:
        masks = pruning.block_global(weights, prune.sparsity, *prune.block)
    return {name: mask for (name, _), mask in zip(picked, masks, strict=True)}


def masked(layer: nn.Linear, mask: NDArray[np.bool_]) -> nn.Linear:
    """Return a copy of a layer with zeros where the mask is False."""
    weight = np.where(mask, layer.weight, np.float32(0))
    return layer.replace(weight=layer.held_weight.like(weight))
