# SPDX-License-Identifier: Apache-2.0
"""Pruning the linear layers of a model, by what a recipe says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo import nn
from octavo.algorithms import pruning
from octavo.algorithms.pruning import InputHessian, InputNorms
from octavo.algorithms.pruning.arguments import DAMPING
from octavo.compression.recipe import Prune
from octavo.compression.sequential import Statistics, fit_in_order, require_finite
from octavo.compression.work import Work


def prune(work: Work) -> None:
    """Let the weights go that the recipe lets go; the zeros are made use of later."""
    how = work.recipe.prune
    if how is None:
        return
    if how.method == "magnitude":
        chosen = {name: work.linear(name) for name, plan in work.plans.items() if plan.pruned}
        masks = global_masks(chosen, how)
        for name, layer in chosen.items():
            work.replace(name, prune_layer(name, layer, how, mask=masks.get(name)))
    else:
        work.model = fit_in_order(work.model, work.batches, _Pruner(work, how), work.progress)


class _Pruner:
    """Pruning as a `Fitter`."""

    doing = "pruning"

    def __init__(self, work: Work, how: Prune) -> None:
        self._work, self._prune = work, how
        self.aim = how.aim

    def chosen(self, name: str, _: nn.Module) -> bool:
        return name in self._work.plans and self._work.plans[name].pruned

    def statistics(self, layers: Sequence[nn.Linear]) -> Statistics:
        width = layers[0].in_features
        if self._prune.method == "wanda":
            return InputNorms(width)
        if self._prune.aim == "layer":
            return InputHessian(width)
        return self._work.output_fit(layers)

    def reading(self, name: str) -> bool:
        return self._work.has_bias(self._work.linear(name))

    def scaled(self, _: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x

    reads = scaled

    def fit(self, name: str, layer: nn.Linear, statistics: Statistics) -> nn.Module:
        pruned = prune_layer(name, layer, self._prune, statistics)
        if statistics.is_silent:
            self._work.silent.add(name)
        return self.materialize(name, pruned)

    def materialize(self, name: str, layer: nn.Module) -> nn.Module:
        return self._work.forms.form(name, layer) if self._work.as_pruned else layer


def prune_layer(
    name: str,
    layer: nn.Linear,
    prune: Prune,
    statistics: Statistics | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> nn.Linear:
    """Return a pruned copy of a float layer; errors say `name`.

    All methods but magnitude need the layer's statistics; `mask` is what stays, if one threshold
    for all layers has found it.
    """
    try:
        if statistics is None:
            return _masked(layer, _by_magnitude(layer, prune) if mask is None else mask)
        structure: dict[str, Any] = {
            "sparsity": prune.sparsity,
            "pattern": prune.pattern,
            "block": prune.block,
        }
        if isinstance(statistics, InputNorms):
            return _masked(layer, pruning.wanda(layer.weight, statistics, **structure))
        damping = DAMPING if prune.damping is None else prune.damping
        fit = pruning.admm if prune.method == "admm" else pruning.sparsegpt
        if isinstance(statistics, InputHessian):
            weight = fit(layer.weight, statistics, damping=damping, **structure)
            return layer.replace(weight=layer.held_weight.like(weight))
        dense, hessian = statistics.solve(layer.weight, damping)
        weight = fit(dense, hessian, damping=damping, **structure).astype(np.float32)
        held = layer.held_weight.like(weight)
        return layer.replace(weight=held, bias=statistics.bias(weight))
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None


def _by_magnitude(layer: nn.Linear, prune: Prune) -> NDArray[np.bool_]:
    if prune.pattern is not None:
        return pruning.nm(layer.weight, *prune.pattern)
    assert prune.sparsity is not None
    if prune.block is not None:
        return pruning.block(layer.weight, prune.sparsity, *prune.block)
    return pruning.magnitude(layer.weight, prune.sparsity)


def global_masks(layers: Mapping[str, nn.Linear], prune: Prune) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of all layers by one threshold, if the recipe wants that; else none."""
    if prune.scope != "global":
        return {}
    assert prune.sparsity is not None
    for name, layer in layers.items():
        require_finite(name, layer)
    weights = [layer.weight for layer in layers.values()]
    if prune.block is None:
        masks = pruning.magnitude_global(weights, prune.sparsity)
    else:
        masks = pruning.block_global(weights, prune.sparsity, *prune.block)
    return dict(zip(layers, masks, strict=True))


def _masked(layer: nn.Linear, mask: NDArray[np.bool_]) -> nn.Linear:
    """Return a copy of a layer with zeros where the mask is False."""
    weight = np.where(mask, layer.weight, np.float32(0))
    return layer.replace(weight=layer.held_weight.like(weight))
