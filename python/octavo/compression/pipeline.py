# SPDX-License-Identifier: Apache-2.0
"""The way of a model through a recipe.

A recipe whose layers do not depend on each other or on data is done layer by layer as they are
read. Everything else goes through stages that share a `Work`: prune, then change float weights,
then look at inputs, then quantize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo import nn
from octavo.compression.calibration import batches_of
from octavo.compression.prune import Chosen, global_masks, masked, prune_layer
from octavo.compression.sequential import prune_in_order
from octavo.compression.work import Work
from octavo.models.encoder import Encoder
from octavo.models.loader import load, load_with
from octavo.models.tree import map_layers

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any

    from octavo.compression.calibration import Calibration
    from octavo.compression.finish import Finish
    from octavo.compression.recipe import Prune, Recipe

    Model = Encoder | str | os.PathLike[str]
    Transform = Callable[[str, nn.Module], nn.Module]
    Say = Callable[[str, float], None]

__all__ = ["run"]

STAGES: tuple[Callable[[Work], None], ...] = ()
"""Between pruning and the final form, in this order."""


def run(
    model: Model, recipe: Recipe, calibration: Calibration, finish: Finish, say: Say
) -> Encoder:
    """Return the compressed copy of a model.

    Parameters
    ----------
    model : Encoder or path
    recipe : Recipe
        Resolved.
    calibration : as `octavo.compress` takes it, or None
    finish : Finish
    say : callable
    """
    prune = recipe.prune
    chosen = None if prune is None else Chosen(prune)
    if recipe.quantize.is_plain and not recipe.needs_data:
        made = _layer_by_layer(model, prune, chosen, finish, finish.pruned)
        made.recipe = recipe.to_dict()
    else:
        made = _in_stages(model, recipe, calibration, chosen, finish, say)
    finish.check()
    if chosen is not None:
        chosen.check()
    return made


def _in_stages(
    model: Model,
    recipe: Recipe,
    calibration: Calibration,
    chosen: Chosen | None,
    finish: Finish,
    say: Say,
) -> Encoder:
    loaded = model if isinstance(model, Encoder) else load(model)
    batches = [] if calibration is None else batches_of(calibration, loaded)
    applied = recipe.to_dict()
    if batches:
        applied["calibration_tokens"] = sum(int(batch.mask.sum()) for batch in batches)
    prune = recipe.prune
    work = Work(recipe, loaded, batches, say)
    if prune is not None and chosen is not None:
        if recipe.quantize.is_plain:
            made = prune_in_order(loaded, batches, prune, chosen, finish, finish.pruned, say)
            made.recipe = applied
            return made
        _prune_first(work, prune, chosen)
    for stage in STAGES:
        stage(work)
    made = map_layers(work.model, lambda name, layer: finish(name, layer, work.plans.get(name)))
    made.recipe = applied
    return made


def _prune_first(work: Work, prune: Prune, chosen: Chosen) -> None:
    """Prune into float layers, for the stages that follow."""

    def note(name: str, layer: nn.FloatLinear) -> nn.Module:
        work.plans[name].pruned = True
        return layer

    if prune.method == "magnitude":
        work.model = _layer_by_layer(work.model, prune, chosen, _kept, note)
    else:
        work.model = prune_in_order(work.model, work.batches, prune, chosen, _kept, note, work.say)


def _layer_by_layer(
    model: Model,
    prune: Prune | None,
    chosen: Chosen | None,
    finish: Transform,
    finish_pruned: Callable[[str, nn.FloatLinear], nn.Module],
) -> Encoder:
    """Convert without a look at data, pruning by magnitude if at all."""
    if prune is None or chosen is None:
        return _mapped(model, finish)
    masks: dict[str, Any] = {}
    if prune.scope == "global":
        model = model if isinstance(model, Encoder) else load(model)
        masks = global_masks(model.named_modules(), prune, chosen)

    def transform(name: str, layer: nn.Module) -> nn.Module:
        if not isinstance(layer, nn.FloatLinear) or not chosen(name, layer):
            return finish(name, layer)
        if prune.scope == "global":
            return finish_pruned(name, masked(layer, masks.pop(name)))
        return finish_pruned(name, prune_layer(name, layer, prune))

    return _mapped(model, transform)


def _mapped(model: Model, transform: Transform) -> Encoder:
    if isinstance(model, Encoder):
        return map_layers(model, transform)
    return load_with(model, transform)


def _kept(_: str, layer: nn.Module) -> nn.Module:
    return layer
