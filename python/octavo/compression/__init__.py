# SPDX-License-Identifier: Apache-2.0
"""Making a model smaller: one function, recipes by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from octavo.compression.finish import Finish
from octavo.compression.pipeline import run
from octavo.compression.recipe import PRESETS, Prune, Quantize, Recipe, Share, read_recipe
from octavo.models.encoder import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from octavo.compression.calibration import Calibration

__all__ = ["PRESETS", "Prune", "Quantize", "Recipe", "Share", "compress", "read_recipe"]


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
        pattern). Without ``-int8`` the weights stay float. More names are in `PRESETS`. The fields
        of a dict or file are those of `Recipe`, `Prune`, `Quantize` and `Share`, the pattern as
        ``"2:4"``.
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
        Called during work with calibration data with what is going on and the share that is done.

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
    if not isinstance(model, (Encoder, str, os.PathLike)):
        raise TypeError(f"model: expected a model or a folder, got {type(model).__name__}")
    plan = read_recipe(recipe).resolved(calibration is not None)
    if calibration is not None and not plan.needs_data:
        raise ValueError("calibration: expected none, this recipe does not use any")
    say = on_progress or (lambda _, __: None)
    return run(model, plan, calibration, Finish(plan, on_layer), say)
