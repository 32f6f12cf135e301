# SPDX-License-Identifier: Apache-2.0
"""Making a model smaller: one function, recipes by name."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from octavo import nn
from octavo.compression.calibration import batches_of
from octavo.compression.int8 import int8_layer, pruned_int8_layer
from octavo.compression.prune import Chosen, global_masks, masked, prune_layer
from octavo.compression.recipe import Prune, Recipe, read_recipe
from octavo.compression.sequential import prune_in_order
from octavo.models.encoder import Encoder
from octavo.models.loader import load, load_with
from octavo.models.tree import map_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from octavo.compression.calibration import Calibration

    Transform = Callable[[str, nn.Module], nn.Module]

__all__ = ["Prune", "Recipe", "compress", "read_recipe"]


def compress(
    model: Encoder | str | os.PathLike[str],
    recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe = "int8",
    *,
    calibration: Calibration | None = None,
    on_layer: Callable[[str], None] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> Encoder:
    """Compress a model, layer by layer.

    With a path, each layer is read, converted and let go before the next is read, so the float
    model is never in memory as a whole; with calibration data, or one threshold for all layers, it
    stays in the mapped file.

    Parameters
    ----------
    model : Encoder or path
        A loaded model, which is left as it is, or a model folder.
    recipe : str, dict, path of a YAML file, or Recipe
        ``"int8"``: int8 weights with a scale per output channel, activations quantized per token
        while running; embeddings int8 with a scale per row; norms stay float32.
        ``"sparse50-int8"``: before that, 50% (or another share) of the weights of each linear
        layer become zero. ``"2:4-int8"``: at most 2 of 4 neighbours stay (or another such
        pattern). Without ``-int8`` the weights stay float. The fields of a dict or file are those
        of `Recipe` and `Prune`, the pattern as ``"2:4"``.
    calibration : optional
        Inputs for the methods that look at them. A file: ``.txt`` with a sentence a line,
        ``.jsonl`` with ``{"text": ...}`` or ``{"input_ids": ...}`` a line, ``.npz`` with input_ids
        and perhaps attention_mask and token_type_ids. Or a list of sentences; or a dict of such
        arrays; or a list of batches, each a dict, a tuple in that order, or only the ids. Padding
        does not count. With it, pruning is by SparseGPT unless the recipe says otherwise; without,
        by magnitude.
    on_layer : callable, optional
        Called with each layer's name after it was converted.
    on_progress : callable, optional
        Called during calibrated pruning with what is going on and the share that is done.

    Returns
    -------
    Encoder
        The compressed model; its `recipe` says what was done. Layers that are int8 already are
        kept.

    Raises
    ------
    TypeError, ValueError
        For an unknown or contradictory recipe, calibration data that do not fit the recipe or the
        model, or a weight that is not finite; the message names it.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> import octavo
    >>> octavo.compress("some/folder", {"prune": {"sparsity": 0.5, "method": "wanda"}})
    Traceback (most recent call last):
    ...
    ValueError: calibration: expected data, wanda needs it; got none
    """
    plan = read_recipe(recipe)
    if not isinstance(model, (Encoder, str, os.PathLike)):
        raise TypeError(f"model: expected a model or a folder, got {type(model).__name__}")
    finish = partial(_notify, int8_layer if plan.quantize == "int8" else _kept, on_layer)
    if plan.prune is None:
        if calibration is not None:
            raise ValueError("calibration: expected none, this recipe does not prune")
        made = _mapped(model, finish)
        made.recipe = plan.to_dict()
        return made
    prune = plan.prune.resolved(calibration is not None)
    pruned_form = pruned_int8_layer if plan.quantize == "int8" else _kept
    finish_pruned = partial(_notify, pruned_form, on_layer)
    chosen = Chosen(prune)
    applied = Recipe(prune, plan.quantize).to_dict()
    if calibration is None:
        made = _without_inputs(model, prune, chosen, finish, finish_pruned)
    else:
        loaded = model if isinstance(model, Encoder) else load(model)
        batches = batches_of(calibration, loaded)
        say = on_progress or (lambda _, __: None)
        made = prune_in_order(loaded, batches, prune, chosen, finish, finish_pruned, say)
        applied["calibration_tokens"] = sum(int(batch.mask.sum()) for batch in batches)
    chosen.check()
    made.recipe = applied
    return made


def _without_inputs(
    model: Encoder | str | os.PathLike[str],
    prune: Prune,
    chosen: Chosen,
    finish: Transform,
    finish_pruned: Callable[[str, nn.FloatLinear], nn.Module],
) -> Encoder:
    """Prune by magnitude."""
    masks = {}
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


def _mapped(model: Encoder | str | os.PathLike[str], transform: Transform) -> Encoder:
    if isinstance(model, Encoder):
        return map_layers(model, transform)
    return load_with(model, transform)


def _notify(
    convert: Callable[[str, Any], nn.Module],
    on_layer: Callable[[str], None] | None,
    name: str,
    layer: Any,
) -> nn.Module:
    converted = convert(name, layer)
    if on_layer is not None:
        on_layer(name)
    return converted


def _kept(_: str, layer: nn.Module) -> nn.Module:
    return layer
