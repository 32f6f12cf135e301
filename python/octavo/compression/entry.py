# SPDX-License-Identifier: Apache-2.0
"""`compress` and `sensitivity`: arguments checked, recipes read, the pipeline run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from octavo._float_mode import in_default_mode
from octavo.compression.calibration_context import Calibration
from octavo.compression.graph_entry import compress_graph, graph_sensitivity, is_graph
from octavo.compression.pipeline import prepared, run
from octavo.compression.recipe import Recipe, read_recipe
from octavo.compression.sensitivity import Sensitivity, work_sensitivity
from octavo.compression.target import Target, read_target
from octavo.data.sources import CalibrationData
from octavo.graph import Graph
from octavo.models.decoder import Decoder
from octavo.models.encoder import Encoder


@in_default_mode
def compress(
    model: Encoder | Decoder | Graph | str | os.PathLike[str],
    recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe = "int8",
    *,
    calibration: CalibrationData | None = None,
    target: Mapping[str, Any] | tuple[Callable[[Encoder], float], float] | Target | None = None,
    on_layer: Callable[[str], None] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> Any:
    """Compress a model, layer by layer.

    With a path, each layer is read, converted and let go before the next is read, so the float
    model is never in memory as a whole; with calibration data, or one threshold for all layers, it
    is.

    Parameters
    ----------
    model : Encoder, Decoder or path
        A loaded model, which is left as it is, or a model folder, or a decoder's GGUF file. To a
        decoder all is done but correcting biases.
    recipe : str, dict, path of a YAML file, or Recipe
        ``"int8"``: int8 weights with a scale per output channel, activations quantized per token
        while running; embeddings int8 with a scale per row; norms stay float32.
        ``"int8-static"``: the same with a fixed scale for what each layer reads, found from
        calibration data.
        ``"int4"``: linear weights of 4 bits with a scale for each 32 inputs, chosen so that little
        is lost, by how large inputs are where there is calibration data; tables, and the layer that
        gives a decoder's logits, int8. ``"int4-gptq"``: the same by GPTQ.
        ``"sparse50-int8"``: before that, 50% (or another share) of the weights of each linear
        layer become zero. ``"2:4-int8"``: at most 2 of 4 neighbours stay (or another such
        pattern). Without ``-int8`` the weights stay float. More names are in `PRESETS`. The fields
        of a dict or file are those of `Recipe`, `Prune`, `Quantize` and `Share`, the pattern as
        ``"2:4"``.
    calibration : optional
        Inputs for what looks at them. A file: ``.txt`` with a sentence a line, or, for a decoder,
        a text, which it reads in windows of 512 tokens; ``.jsonl`` with
        ``{"text": ...}`` or ``{"input_ids": ...}`` a line, ``.npz`` with input_ids and perhaps
        attention_mask and token_type_ids. Or a dict of such arrays. Or items: in a list or any
        other iterable (a PyTorch ``DataLoader``, an `octavo.data.Dataset`), yielded by a function,
        or from an object with ``get_next()``. An item is a sentence, a list of them, or inputs: a
        dict, a tuple or list of arrays in that order, or only the ids; of a batch or, with one
        axis less, of one sentence. What is not a list is read anew for every pass instead of being
        held in memory, or, if it can be read only once, held as ids if several are needed. Padding
        does not count. With it, pruning is by SparseGPT unless the recipe says otherwise; without,
        by magnitude.
    target : optional
        What the result has to reach: ``{"cosine": 0.998}`` or ``{"sqnr": 30}`` (decibels), of the
        sentence vectors of the calibration data against the float model's; of a decoder
        ``{"perplexity": 1.015}``, at most so many times the float model's on the calibration data;
        or ``{"metric": callable, "at_least": 0.85}``, or ``"at_most"``, or ``(callable, 0.85)``,
        where the callable gets the compressed model and returns a number. As few layers as
        possible, the most
        sensitive ones, are then kept as the recipe's `Quantize.keep` says; the model's `recipe`
        tells which, and what was reached.
    on_layer : callable, optional
        Called with each layer's name after it was converted.
    on_progress : callable, optional
        Called during work with calibration data with what is going on and the share that is done.

    Returns
    -------
    Encoder or Decoder
        The compressed model; its `recipe` says what was done. Layers that are int8 already are
        kept.

    Raises
    ------
    TypeError, ValueError
        For an unknown or contradictory recipe, calibration data that do not fit the recipe or the
        model, or a weight that is not finite; the message names it.
    TargetNotMetError
        If no choice of layers reaches the target; the message says how close it came. It is a
        ValueError.
    RuntimeError
        If a target's callable raises, from what it raised.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> import octavo
    >>> octavo.compress("no/such/folder", {"prune": {"sparsity": 0.5, "method": "wanda"}})
    Traceback (most recent call last):
    ...
    ValueError: calibration: expected data, wanda needs it; got none
    """
    wanted = None if target is None else read_target(target)
    progress = on_progress or (lambda _, __: None)
    if is_graph(model):
        return compress_graph(model, recipe, calibration, wanted, progress)[0]
    if not isinstance(model, (Encoder, Decoder, str, os.PathLike)):
        raise TypeError(f"model: expected a model or a folder, got {type(model).__name__}")
    if isinstance(model, (Encoder, Decoder)):
        model.require_no_adapters()
    plan = read_recipe(recipe).resolved(calibration is not None)
    if wanted is None:
        if calibration is not None and not plan.needs_data:
            raise ValueError("calibration: expected none, this recipe does not use any")
        if plan.quantize.keep != "float32" and not plan.quantize.exclude:
            raise ValueError(
                "recipe: quantize.keep: expected quantize.exclude or a target beside it, got none"
            )
    elif calibration is None:
        raise ValueError("calibration: expected data, a target needs it; got none")
    return run(model, plan, calibration, wanted, on_layer, progress)


@in_default_mode
def sensitivity(
    model: Encoder | Decoder | Graph | str | os.PathLike[str],
    calibration: Calibration,
    recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe = "int8",
    *,
    on_progress: Callable[[str, float], None] | None = None,
) -> Sensitivity:
    """Measure what each layer costs the model's output if it alone is quantized.

    Parameters
    ----------
    model : Encoder, Decoder or path
        A loaded float model, which is left as it is, or a model folder.
    calibration
        Inputs, as `compress` takes them; of more than 4096 tokens, or 1024 of a decoder, a sample
        of the rows is run.
    recipe : str, dict, path of a YAML file, or Recipe
        How layers are quantized. What it does to float weights before (pruning, say) is done to
        all layers first.
    on_progress : callable, optional
        Called with what is going on and the share that is done.

    Returns
    -------
    Sensitivity
        The layers, the most sensitive first; printed, it is a table.

    Raises
    ------
    TypeError, ValueError, OSError
        As `compress`.

    Examples
    --------
    >>> import octavo
    >>> octavo.compression.sensitivity("no/such/folder", [])
    Traceback (most recent call last):
    ...
    FileNotFoundError: no such folder: no/such/folder
    """
    progress = on_progress or (lambda _, __: None)
    if is_graph(model):
        return graph_sensitivity(model, calibration, recipe, progress)
    if not isinstance(model, (Encoder, Decoder, str, os.PathLike)):
        raise TypeError(f"model: expected a model or a folder, got {type(model).__name__}")
    plan = read_recipe(recipe).resolved(has_calibration=True)
    work = prepared(model, plan, calibration, progress)
    return work_sensitivity(work)
