# SPDX-License-Identifier: Apache-2.0
"""The way of a model through a recipe.

A recipe whose layers do not depend on each other or on data is done layer by layer as they are
read. Everything else goes through stages that share a `Work`: prune, then change float weights,
then look at inputs, then quantize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo import nn
from octavo.compression.bias_correction import correct_biases
from octavo.compression.equalize import equalize
from octavo.compression.finish import Forms
from octavo.compression.gptq import round_weights
from octavo.compression.observe import observe
from octavo.compression.prune import (
    Chosen,
    global_masks,
    masked,
    prune_in_order,
    prune_layer,
)
from octavo.compression.smooth import find_outliers, smooth
from octavo.compression.target import meet
from octavo.compression.work import Work
from octavo.data.batches import Batches, batches_of
from octavo.models.encoder import Encoder
from octavo.models.loader import load, load_with
from octavo.nn.tree import map_layers, untied

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any

    from octavo.compression.finish import Finish
    from octavo.compression.recipe import Prune, Recipe
    from octavo.compression.target import Target
    from octavo.data.sources import CalibrationData

    Model = Encoder | str | os.PathLike[str]
    Transform = Callable[[str, nn.Module], nn.Module]
    Progress = Callable[[str, float], None]

__all__ = ["prepared", "run"]

STAGES: tuple[Callable[[Work], None], ...] = (
    equalize,
    smooth,
    find_outliers,
    observe,
    round_weights,
)
"""Between pruning and the final form, in this order."""


def run(
    model: Model,
    recipe: Recipe,
    calibration: CalibrationData,
    target: Target | None,
    finish: Finish,
    progress: Progress,
) -> Encoder:
    """Return the compressed copy of a model.

    Parameters
    ----------
    model : Encoder or path
    recipe : Recipe
        Resolved.
    calibration : as `octavo.compress` takes it, or None
    target : Target, optional
        Goes with calibration data.
    finish : Finish
    progress : callable
    """
    prune = recipe.prune
    chosen = None if prune is None else Chosen(prune)
    if recipe.quantize.is_plain and not recipe.needs_data and target is None:
        made = _layer_by_layer(model, prune, chosen, finish, finish.pruned)
        made.recipe = recipe.to_dict()
    else:
        made = _in_stages(model, recipe, calibration, target, chosen, finish, progress)
    finish.check()
    if chosen is not None:
        chosen.check()
    return made


def _in_stages(
    model: Model,
    recipe: Recipe,
    calibration: CalibrationData,
    target: Target | None,
    chosen: Chosen | None,
    finish: Finish,
    progress: Progress,
) -> Encoder:
    applied = recipe.to_dict()
    work = _loaded(model, recipe, calibration, progress, once=recipe.passes == 1 and target is None)
    prune = recipe.prune
    if prune is not None and chosen is not None and recipe.quantize.is_plain and target is None:
        batches = work.batches
        made = prune_in_order(work.model, batches, prune, chosen, finish, finish.pruned, progress)
    else:
        _go_through_stages(work, chosen)
        forms = Forms(work, finish)
        if target is None:
            made = correct_biases(work, forms.model())
        else:
            made, applied["target"] = meet(work, forms, target)
    if recipe.needs_data or target is not None:
        applied["calibration_tokens"] = work.batches.tokens
    made.recipe = applied
    return made


def prepared(
    model: Model, recipe: Recipe, calibration: CalibrationData, progress: Progress
) -> Work:
    """Return a model as it is after all stages, with the plans of its layers.

    Parameters
    ----------
    model, recipe, calibration, progress
        As for `run`.
    """
    work = _loaded(model, recipe, calibration, progress, once=False)
    chosen = None if recipe.prune is None else Chosen(recipe.prune)
    _go_through_stages(work, chosen)
    if chosen is not None:
        chosen.check()
    return work


def _loaded(
    model: Model, recipe: Recipe, calibration: CalibrationData, progress: Progress, *, once: bool
) -> Work:
    loaded = untied(model if isinstance(model, Encoder) else load(model))
    batches = Batches([])
    if calibration is not None:
        batches = batches_of(calibration, loaded, once=once)
    return Work(recipe, loaded, loaded, batches, progress)


def _go_through_stages(work: Work, chosen: Chosen | None) -> None:
    if work.recipe.prune is not None and chosen is not None:
        _prune_first(work, work.recipe.prune, chosen)
    for stage in STAGES:
        stage(work)


def _prune_first(work: Work, prune: Prune, chosen: Chosen) -> None:
    """Prune into float layers, for the stages that follow."""

    def note(name: str, layer: nn.Linear) -> nn.Module:
        work.plans[name].pruned = True
        return layer

    if prune.method == "magnitude":
        work.model = _layer_by_layer(work.model, prune, chosen, _kept, note)
    else:
        kept = list(work.batches)
        work.model = prune_in_order(work.model, kept, prune, chosen, _kept, note, work.progress)


def _layer_by_layer(
    model: Model,
    prune: Prune | None,
    chosen: Chosen | None,
    finish: Transform,
    finish_pruned: Callable[[str, nn.Linear], nn.Module],
) -> Encoder:
    """Convert without a look at data, pruning by magnitude if at all."""
    if prune is None or chosen is None:
        return _mapped(model, finish)
    masks: dict[str, Any] = {}
    if prune.scope == "global":
        model = model if isinstance(model, Encoder) else load(model)
        masks = global_masks(model.named_modules(), prune, chosen)

    def transform(name: str, layer: nn.Module) -> nn.Module:
        if not nn.is_linear(layer, "float32") or not chosen(name, layer):
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
