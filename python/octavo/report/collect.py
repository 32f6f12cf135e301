# SPDX-License-Identifier: Apache-2.0
"""What a report says about a model: the size, error and input range of each layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo.algorithms.measures import cosines
from octavo.compression import IN_GROUPS, compress
from octavo.data.batches import batches_of
from octavo.data.sentences import SENTENCES
from octavo.data.sources import CalibrationData
from octavo.data.tokenizer import tokenize
from octavo.evaluation.layers import layer_errors
from octavo.io.side_files import weight_bytes
from octavo.models.encoder import Encoder
from octavo.models.loader import load_encoder
from octavo.nn import hooks
from octavo.nn.tree import untied
from octavo.report.facts import ModelFacts, Range, layer_facts, layer_kind

Progress = Callable[[str, float], None]
"""Gets a line about each step as it starts, and the share of the work that is done."""

_TOKENS, _RANDOM_BATCH = 128, (8, 64)
_MOST_ROWS = 64
_SAMPLES = 200_000
"""Values of a layer's input that its percentiles are taken from."""


def collect_model(
    folder: str | Path,
    reference: str | Path | None = None,
    progress: Progress = lambda *_: None,
    calibration: CalibrationData | None = None,
) -> ModelFacts:
    """Look at a model folder: a float model, which is compressed for it, or an artifact.

    Without its float model, `reference`, an artifact's errors are not known. `calibration` is what
    to measure on, as `octavo.compress` takes it (default: built-in sentences).
    """
    progress("reading the model", 0.0)
    model = load_encoder(folder)
    full: Encoder | None = None
    if _is_quantized(model):
        small, stored = model, weight_bytes(folder)
        if reference is not None:
            full = _reference(reference, small)
    elif reference is not None:
        raise ValueError(f"reference: {folder} is a float model already")
    else:
        progress("compressing", 0.05)
        full, small, stored = model, compress(model), 0
    if calibration is None:
        ids, mask, text = _sample(Path(folder), model)
    else:
        ids, mask, text = _given(calibration, model)
    progress("measuring the range of each layer's input", 0.3)
    ranges, clipped = _inputs(full or small, small, ids, mask)
    errors, mean, least = {}, None, None
    if full is not None:
        progress("measuring the error of each layer", 0.5)
        errors = {error.name: error for error in layer_errors(full, small, ids, mask)}
        agreement = cosines(full.encode(ids, mask), small.encode(ids, mask))
        mean, least = float(agreement.mean()), float(agreement.min())
    layers = [
        layer_facts(name, layer, errors.get(name), ranges.get(name), clipped.get(name))
        for name, layer in small.named_modules()
        if layer_kind(layer)
    ]
    return ModelFacts(
        name=str(folder),
        float_bytes=sum(layer.float_bytes for layer in layers),
        nbytes=stored or sum(layer.nbytes for layer in layers),
        text=text,
        layers=layers,
        cosine_mean=mean,
        cosine_min=least,
        models={_name(small): small} | ({} if full is None else {"octavo float32": full}),
    )


def _is_quantized(model: Encoder) -> bool:
    return any(layer.held_weight.bits <= 8 for layer in _linears(model))


def _linears(model: Encoder) -> list[nn.Linear]:
    return [layer for _, layer in model.named_modules() if nn.is_linear(layer)]


def _name(model: Encoder) -> str:
    """Return what figures call a compressed model."""
    kinds = {layer.kind for layer in _linears(model)}
    return "octavo" if kinds & set(IN_GROUPS) else "octavo int8"


def _reference(folder: str | Path, small: Encoder) -> Encoder:
    full = load_encoder(folder)
    if _is_quantized(full):
        raise ValueError(f"reference: {folder} is compressed; name the float model's folder")
    names = [
        {name for name, layer in model.named_modules() if layer_kind(layer)}
        for model in (full, small)
    ]
    if names[0] != names[1] or full.config.hidden_size != small.config.hidden_size:
        raise ValueError(f"reference: {folder} is not the model that the artifact was made of")
    return full


def _sample(
    folder: Path, model: Encoder
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], str]:
    """Return ids, mask and their description: sentences, or random ids without a tokenizer."""
    limit = min(_TOKENS, model.config.positions)
    try:
        ids, mask = tokenize(folder, SENTENCES, limit, model.files)
    except (ImportError, OSError):
        batch, tokens = _RANDOM_BATCH
        rng = np.random.default_rng(0)
        ids = rng.integers(0, model.config.vocab_size, (batch, min(tokens, limit)))
        return ids, np.ones_like(ids), f"{batch} rows of random token ids (no tokenizer)"
    if int(ids.max()) >= model.config.vocab_size:
        raise ValueError(f"{folder}: tokenizer.json knows more words than the model")
    return ids, mask, f"{len(SENTENCES)} sentences"


def _given(
    calibration: CalibrationData, model: Encoder
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], str]:
    """Return ids and mask of calibration data: some rows, evenly chosen, and their beginnings."""
    rows = [row for batch in batches_of(calibration, model) for row in zip(*batch[:2], strict=True)]
    chosen = rows[:: -(-len(rows) // _MOST_ROWS)]
    shape = len(chosen), min(_TOKENS, max(len(ids) for ids, _ in chosen))
    made, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for index, (ids, kept) in enumerate(chosen):
        made[index, : len(ids)], mask[index, : len(ids)] = ids[: shape[1]], kept[: shape[1]]
    return made, mask, f"{len(chosen)} rows of calibration data"


def _inputs(
    model: Encoder, small: Encoder, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
) -> tuple[dict[str, Range], dict[str, float]]:
    """Return the range of each linear layer's input, and the share that its static scale clips."""
    model = untied(model)
    names = [name for name, layer in model.named_modules() if nn.is_linear(layer)]
    limits = {name: _limits(small.get_submodule(name)) for name in names}
    kept = mask.astype(bool)
    ranges: dict[str, Range] = {}
    shares: dict[str, float] = {}

    def see(name: str, x: Any, _: Any) -> None:
        # Padding is computed with, but says nothing about the model.
        values = x[kept] if x.shape[:2] == kept.shape else x
        flat = values.reshape(-1)
        inner = np.percentile(flat[:: max(1, flat.size // _SAMPLES)], (0.1, 99.9))
        ranges[name] = Range(float(flat.min()), float(flat.max()), float(inner[0]), float(inner[1]))
        ends = limits[name]
        if ends is not None:
            shares[name] = float(((values < ends[0]) | (values > ends[1])).mean())

    with hooks.watching(model, names, see):
        model(ids, mask)
    return ranges, shares


def _limits(layer: Any) -> tuple[Any, Any] | None:
    """Return the ends of what a static input scale can tell, half a step beyond the last codes."""
    state = layer.state_dict()
    if "input_scale" not in state:
        return None
    scale, point = float(state["input_scale"][0]), int(state.get("input_zero_point", [0])[0])
    low, high = scale * (-128.5 - point), scale * (127.5 - point)
    if "input_multiplier" not in state:
        return low, high
    with np.errstate(divide="ignore"):  # where the multiplier is 0, nothing is clipped
        return low / state["input_multiplier"], high / state["input_multiplier"]
