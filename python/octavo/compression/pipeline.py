# SPDX-License-Identifier: Apache-2.0
"""The way of a model through a recipe: a plan for each layer, then the stages, then its form.

A recipe whose layers do not depend on each other or on data goes that way layer by layer, as they
are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from octavo import nn
from octavo._warn import warn
from octavo.compression.bias_correction import correct_biases
from octavo.compression.candidates import ModelCandidates
from octavo.compression.equalize import equalize
from octavo.compression.materialize import materialize, set_attention
from octavo.compression.observe import observe
from octavo.compression.plan import Planner
from octavo.compression.prune import global_masks, prune, prune_layer
from octavo.compression.recipe import Recipe
from octavo.compression.rounding import round_weights
from octavo.compression.smooth import find_outliers, smooth
from octavo.compression.target import Target, meet
from octavo.compression.work import Progress, Work
from octavo.data.batches import Batches, batches_of
from octavo.data.sources import CalibrationData
from octavo.data.text_windows import is_text, text_batches
from octavo.models.decoder import Decoder
from octavo.models.encoder import Encoder
from octavo.models.loader import load_with
from octavo.nn.tree import map_layers

Model = Encoder | Decoder | str | os.PathLike[str]
OnLayer = Callable[[str], None] | None

STAGES: tuple[Callable[[Work], None], ...] = (
    prune,
    equalize,
    smooth,
    find_outliers,
    observe,
    round_weights,
)
"""Between the plan and the final form: each does its part of the recipe, or nothing."""


def run(
    model: Model,
    recipe: Recipe,
    calibration: CalibrationData,
    target: Target | None,
    on_layer: OnLayer,
    progress: Progress,
) -> Any:
    """Return the compressed copy of a model, by a resolved recipe; a target goes with data."""
    applied = recipe.to_dict()
    if recipe.quantize.is_plain and not recipe.needs_data and target is None:
        made = _layer_by_layer(model, recipe, on_layer)
        made.recipe = applied
        return made
    once = recipe.passes == 1 and target is None
    as_pruned = recipe.quantize.is_plain and target is None
    work = _begun(model, recipe, calibration, progress, once, on_layer, as_pruned, target)
    _go_through_stages(work)
    if work.silent:
        applied["silent_layers"] = sorted(work.silent)
    if target is None:
        made = correct_biases(work, work.forms.model(work.model))
    else:
        metric = target.metric if isinstance(target.metric, str) else None
        made, applied["target"] = meet(ModelCandidates(work, metric), target)
    if recipe.needs_data or target is not None:
        applied["calibration_tokens"] = work.batches.tokens
    made.recipe = applied
    return made


def prepared(
    model: Model, recipe: Recipe, calibration: CalibrationData, progress: Progress
) -> Work:
    """Return a model as it is after all stages, with the plans of its layers."""
    work = _begun(model, recipe, calibration, progress, once=False)
    _go_through_stages(work)
    return work


def _go_through_stages(work: Work) -> None:
    for stage in STAGES:
        stage(work)
    if work.silent:
        done = "pruned by magnitude" if work.recipe.prune is not None else "rounded to nearest"
        warn(
            f"calibration: the data says nothing about {', '.join(sorted(work.silent))}: all rows"
            f" that are read there are alike; the weights were {done}. More data helps"
        )


def _begun(
    model: Model,
    recipe: Recipe,
    calibration: CalibrationData,
    progress: Progress,
    once: bool,
    on_layer: OnLayer = None,
    as_pruned: bool = False,
    target: Target | None = None,
) -> Work:
    """Open model and data, and plan every layer."""
    # Without a transform a GGUF file's weights are float32, as compression wants them.
    loaded = model if isinstance(model, (Encoder, Decoder)) else load_with(model, None)
    _refuse(loaded, recipe, target)
    batches = Batches([])
    if isinstance(loaded, Decoder) and is_text(calibration):
        batches = text_batches(calibration, loaded)
    elif calibration is not None:
        batches = batches_of(calibration, loaded, once=once)
    return Work(recipe, loaded, batches, progress, on_layer, as_pruned)


def _refuse(model: Encoder | Decoder, recipe: Recipe, target: Target | None) -> None:
    """Refuse what is not done to models of this kind."""
    metric = None if target is None else target.metric
    if isinstance(model, Encoder):
        if metric == "perplexity":
            raise ValueError(
                "target: perplexity: expected a decoder, which gives tokens probabilities, got a "
                f"{model.architecture}"
            )
        return
    of = f"of a {model.architecture}"
    if metric in ("cosine", "sqnr"):
        raise ValueError(f"target: expected perplexity or a callable {of}, got {metric}")
    if recipe.quantize.correct_bias:
        raise ValueError(f"recipe: quantize.correct_bias: expected false {of}, got true")


def _layer_by_layer(model: Model, recipe: Recipe, on_layer: OnLayer) -> Any:
    """Plan, prune by magnitude and materialize each layer before the next is read."""
    planner = Planner(recipe)
    how = recipe.prune
    masks: dict[str, Any] = {}
    if how is not None and how.scope == "global":
        model = model if isinstance(model, (Encoder, Decoder)) else load_with(model, None)
        linears = ((n, layer) for n, layer in model.named_modules() if nn.is_linear(layer))
        masks = global_masks({n: one for n, one in linears if planner(n, one).pruned}, how)

    def transform(name: str, layer: nn.Module) -> nn.Module:
        plan = planner(name, layer)
        if how is not None and plan.pruned:
            layer = prune_layer(name, cast("nn.Linear", layer), how, mask=masks.pop(name, None))
        made = materialize(name, layer, plan)
        if on_layer is not None:
            on_layer(name)
        return made

    if isinstance(model, (Encoder, Decoder)):
        made: Any = map_layers(model, transform)
    else:
        made = load_with(model, transform)
    planner.check()
    set_attention(made, recipe.quantize)
    return made
