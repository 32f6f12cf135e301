# SPDX-License-Identifier: Apache-2.0
"""Pruning the linear layers of a model, by what a recipe says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn, pruning
from octavo.compression.names import Names
from octavo.models.encoder import HEADS
from octavo.pruning import InputHessian, InputNorms, OutputFit
from octavo.pruning._arguments import DAMPING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from octavo.compression.recipe import Prune

__all__ = ["Chosen", "global_masks", "masked", "prune_layer", "require_finite", "statistics_for"]

Statistics = InputNorms | InputHessian | OutputFit


class Chosen:
    """Which layers a recipe prunes; it remembers which of the excluded names it met."""

    def __init__(self, prune: Prune) -> None:
        self._excluded = Names(prune.exclude, "prune.exclude", "float linear layers")
        self._found = False

    def __call__(self, name: str, layer: nn.Module) -> bool:
        """Whether this layer is to be pruned."""
        if not isinstance(layer, nn.FloatLinear) or f"{name}.".startswith(HEADS):
            return False
        is_chosen = name not in self._excluded
        self._found |= is_chosen
        return is_chosen

    def check(self) -> None:
        """Raise if a name was never met, or nothing was pruned."""
        self._excluded.check()
        if not self._found:
            raise ValueError("model: expected float linear layers to prune, got none")


def require_finite(name: str, layer: nn.FloatLinear) -> None:
    """Raise if a weight holds NaN or infinity, before any long work."""
    if not np.isfinite(layer.weight).all():
        raise ValueError(f"layer {name!r}: weight: expected finite values, got NaN or infinity")


def statistics_for(prune: Prune, layers: Sequence[Any]) -> Statistics:
    """Return the empty statistics that a recipe needs of layers that read the same input."""
    width = layers[0].in_features
    if prune.method == "wanda":
        return InputNorms(width)
    if prune.aim == "layer":
        return InputHessian(width)
    return OutputFit(width, sum(layer.out_features for layer in layers))


def prune_layer(
    name: str, layer: nn.FloatLinear, prune: Prune, statistics: Statistics | None = None
) -> nn.FloatLinear:
    """Return a pruned copy of a layer; errors name it.

    Parameters
    ----------
    name : str
    layer : FloatLinear
    prune : Prune
        With its method resolved.
    statistics : InputNorms, InputHessian or OutputFit
        Of the layer, from `statistics_for`; for all methods but magnitude.
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
            return nn.FloatLinear(weight, layer.bias, layer.activation)
        dense, hessian = statistics.solve(layer.weight, damping)
        weight = fit(dense, hessian, damping=damping, **structure).astype(np.float32)
        return nn.FloatLinear(weight, statistics.bias(weight), layer.activation)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None


def _by_magnitude(layer: nn.FloatLinear, prune: Prune) -> NDArray[np.bool_]:
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
        if chosen(name, layer) and isinstance(layer, nn.FloatLinear)
    ]
    for name, layer in picked:
        require_finite(name, layer)
    weights = [layer.weight for _, layer in picked]
    if prune.block is None:
        masks = pruning.magnitude_global(weights, prune.sparsity)
    else:
        masks = pruning.block_global(weights, prune.sparsity, *prune.block)
    return {name: mask for (name, _), mask in zip(picked, masks, strict=True)}


def masked(layer: nn.FloatLinear, mask: NDArray[np.bool_]) -> nn.FloatLinear:
    """Return a copy of a layer with zeros where the mask is False."""
    weight = np.where(mask, layer.weight, np.float32(0))
    return nn.FloatLinear(weight, layer.bias, layer.activation)
