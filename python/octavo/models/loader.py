# SPDX-License-Identifier: Apache-2.0
"""Opening a model folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from octavo import nn
from octavo._text import shown
from octavo._warn import warn
from octavo.io.checkpoint import Checkpoint, left_out, open_tensors
from octavo.io.folder import parse_json
from octavo.io.header import Tensors
from octavo.io.hub import model_path
from octavo.io.quantization import Quantization, read_description
from octavo.io.side_files import read_side_files
from octavo.io.snapshot import OpenFolder, read_consistently
from octavo.models.bert import BertModel
from octavo.models.build import OPTIONAL, CheckpointBuilder, LayerSource, Transform, WeightSource
from octavo.models.config import HEADS, EncoderConfig, read_config
from octavo.models.decoder import Decoder
from octavo.models.decoder_config import (
    DecoderConfig,
    decoder_types,
    is_decoder,
    read_decoder_config,
    read_end_ids,
)
from octavo.models.distilbert import DistilBertModel
from octavo.models.electra import ElectraModel
from octavo.models.encoder import Encoder
from octavo.models.gguf import is_gguf, read_gguf
from octavo.models.gguf_weights import GgufWeights
from octavo.models.modernbert import ModernBertModel
from octavo.models.mpnet import MPNetModel
from octavo.models.roberta import CamembertModel, RobertaModel, XLMRobertaModel
from octavo.models.self_attention import ATTENTION_PRECISIONS
from octavo.models.sharing import SharedWeights, digests, name_of, require_sharing, shared_weights

_MODELS: dict[
    str, type[BertModel] | type[DistilBertModel] | type[ModernBertModel] | type[MPNetModel]
] = {
    "bert": BertModel,
    "camembert": CamembertModel,
    "distilbert": DistilBertModel,
    "electra": ElectraModel,
    "modernbert": ModernBertModel,
    "mpnet": MPNetModel,
    "roberta": RobertaModel,
    "xlm-roberta": XLMRobertaModel,
}
_GENERATION = "generation_config.json"


def load(
    path: str | os.PathLike[str],
    *,
    rows: int | Sequence[int] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    shared: bool = False,
) -> Any:
    """Load a model folder: float weights, or those of compressed-tensors, GPTQ or AWQ.

    Nothing of the files is mapped: what becomes of them later does not reach the model.  Floats are
    read as float32, except that 16 bits stay 16 bits where octavo wrote them
    (`octavo.nn.HalfLinear`).
    Linear layers whose int8 codes are stored sparse become `octavo.nn.SparseLinear`, with the
    format that is the fastest here.  The ``sparse-bitmask`` format of compressed-tensors before
    0.14 is read too, float or int8.

    All files are of one save, also when another process or thread saves into the same folder while
    it is read.

    Parameters
    ----------
    path : str or os.PathLike
        Folder with ``config.json``, of a model type that `EncoderConfig` or `DecoderConfig` lists,
        and ``model.safetensors``, or shards with their index. Or a model of the Hugging Face hub,
        ``"owner/name"``, if there is no such folder: huggingface_hub finds or downloads it, by its
        own settings. Or a GGUF file of a decoder: weights of 4, 5 and 8 bits run as they are, and
        `Decoder.rounded` tells what became of others.
    rows : int or sequence of int, optional
        How many tokens (over all sentences) calls will have: sparse layers then take the format
        that is the fastest for those, see `octavo.tuning.choose`.
    shared : bool
        Keep the weights in memory that all processes of this user share which load the same model
        so (Linux); the first one packs them. ``model.segment.nbytes`` is how many bytes those are.
        Where it cannot be done, the model is loaded as ever, with a warning. What is made of the
        model, a pickle or other layers, has memory of its own.

    Returns
    -------
    Encoder or Decoder
        Call it with token ids.

    Raises
    ------
    ValueError
        For an unknown architecture, a missing tensor, a wrong shape, a corrupt file, or a
        quantization scheme that is not read; the message names the thing.
    OSError
        If a file is missing or cannot be read, or the folder was replaced at each of many attempts.

    Examples
    --------
    >>> import octavo
    >>> try:
    ...     octavo.models.load("no/such/folder")
    ... except FileNotFoundError as error:
    ...     print(error)
    no such folder: no/such/folder
    """
    suited = partial(_suited, rows)
    if is_gguf(path):
        stored = _read_gguf(path := Path(path), to_share=shared)
    else:
        path = model_path(path, revision, token)
        stored = read_consistently(path, partial(_read, to_share=shared))
    own = stored.weights
    if not shared:
        return _told(path, *_built(path, stored, None if rows is None else suited, own))
    try:
        require_sharing()
        made = shared_weights(
            name_of(stored.raw, stored.content, rows),
            lambda take: _built(path, stored, lambda n, layer: take(n, suited(n, layer)), own),
            lambda weights: _built(path, stored, None, weights),
        )
    except OSError as error:
        made = _built(path, stored, suited, own)
        warn(f"{path}: no other process shares the weights: {error}")
    return _told(path, *made)


def _suited(rows: int | Sequence[int] | None, _: str, layer: nn.Module) -> nn.Module:
    """Return a sparse layer in the format that is the fastest for so many rows."""
    if rows is not None and nn.is_linear(layer) and layer.held_weight.leaves_zeros_out:
        return layer.with_format(rows=rows)
    return layer


def load_encoder(path: str | os.PathLike[str], **options: Any) -> Encoder:
    """Load a model, as `load` does, that has to be an encoder."""
    model = load(path, **options)
    if not isinstance(model, Encoder):
        raise ValueError(f"{path}: expected an encoder, got a {model.architecture}")
    return model


class _Stored(NamedTuple):
    """What one save wrote."""

    raw: dict[str, Any]
    config: EncoderConfig | DecoderConfig
    quantization: Quantization | None
    tensors: dict[str, Tensors]
    files: dict[str, bytes]
    content: list[str]
    weights: GgufWeights | None = None


def load_with(
    path: str | os.PathLike[str],
    transform: Transform | None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Any:
    """Load a model, passing each layer through ``transform(name, layer)`` as it is read."""
    if is_gguf(path):
        path = Path(path)
        return _told(path, *_built(path, _read_gguf(path), transform))
    path = model_path(path, revision, token)
    return _told(path, *_built(path, read_consistently(path, _read), transform))


def _built(
    path: Path,
    stored: _Stored,
    transform: Transform | None,
    weights: WeightSource | None = None,
) -> tuple[Encoder | Decoder, list[str]]:
    """Return a model, and the tensors that have no place in it."""
    config = stored.config
    checkpoint = open_checkpoint(path, config, stored.tensors)
    made_by = stored.raw.get("octavo")
    made_by = made_by if isinstance(made_by, dict) else {}
    recipe = made_by.get("recipe")
    ours = isinstance(recipe, dict)
    # A float model of others is what recipes start from: it is read as float32.
    builder = CheckpointBuilder(checkpoint, stored.quantization, transform, ours, weights)
    model = _build(config, builder)
    others = builder.check_complete(model.prefixes(), OPTIONAL)
    model.source, model.files = path.resolve(), stored.files
    if isinstance(model, Decoder):
        _read_end_ids(model)
    if isinstance(weights, SharedWeights):
        model.segment = weights.segment
    if isinstance(weights, GgufWeights) and isinstance(model, Decoder):
        model.rounded = weights.rounded()
    if ours:
        model.recipe = recipe
    if "attention_precision" in made_by:
        precision = made_by["attention_precision"]
        if precision not in ATTENTION_PRECISIONS:
            raise ValueError(
                f"{path}: config.json: attention_precision is {shown(precision)}, expected one of "
                f"{', '.join(ATTENTION_PRECISIONS)}"
            )
        model.attention_precision = precision
    return model, others


def _read_end_ids(model: Decoder) -> None:
    """Take the tokens that end texts from the file that transformers prefers, if it is there."""
    content = model.files.get(_GENERATION)
    if content is not None:
        found = read_end_ids(parse_json(Path(_GENERATION), content), _GENERATION)
        model.end_ids = found or model.end_ids


def _told(path: Path, model: Encoder | Decoder, others: list[str]) -> Encoder | Decoder:
    """Return a model after the warnings that concern it."""
    for problem in _problems(model, others):
        warn(f"{path}: {problem}")
    return model


def open_checkpoint(
    path: Path,
    config: EncoderConfig | DecoderConfig,
    files: dict[str, Tensors] | None = None,
) -> Checkpoint:
    """Open the tensors of a folder, or of what was read of it, named as the model's layers."""
    if isinstance(config, DecoderConfig):
        return Checkpoint(path, anchor=Decoder.anchor, files=files)
    prefixes = ("", f"{config.prefix}.")
    anchor = _MODELS[config.model_type].anchor
    return Checkpoint(path, prefixes, anchor=anchor, bare=HEADS, files=files)


def _problems(model: Encoder | Decoder, others: list[str]) -> Iterator[str]:
    """Yield what the folder has or asks for, and the model does not do."""
    if others:
        yield left_out(others)
    if isinstance(model, Encoder):
        try:
            _ = model.sentence
        except ValueError as error:
            yield f"{error}; encode refuses"
    if model.config.raw.get("auto_map"):
        yield "config.json names code of its own (auto_map), which is not run"


def _read(folder: OpenFolder, to_share: bool = False) -> _Stored:
    if not folder.is_file("config.json"):
        raise FileNotFoundError(f"{folder.path}: no config.json")
    raw = folder.read_json("config.json")
    try:
        config = read_any_config(raw)
        quantization = read_description(raw)
    except ValueError as error:
        raise ValueError(f"{folder.path}: {error}") from None
    tensors, files = open_tensors(folder), read_side_files(folder)
    content = digests(folder, tensors) if to_share else []
    return _Stored(raw, config, quantization, tensors, files, content)


def _read_gguf(path: Path, to_share: bool = False) -> _Stored:
    found = read_gguf(path)
    try:
        config = read_decoder_config(found.raw)
    except ValueError as error:
        raise ValueError(f"{path}: its keys as a {error}") from None
    tensors: dict[str, Tensors] = dict.fromkeys(found.tensors, found.tensors)
    content = found.tensors.digests() if to_share else []
    weights = GgufWeights(found.tensors)
    return _Stored(found.raw, config, None, tensors, found.files, content, weights)


def read_any_config(raw: dict[str, Any]) -> EncoderConfig | DecoderConfig:
    """Check the JSON object of a config.json, of an encoder or a decoder."""
    if is_decoder(raw):
        return read_decoder_config(raw)
    return read_config(raw, decoder_types())


def _build(config: EncoderConfig | DecoderConfig, builder: CheckpointBuilder) -> Encoder | Decoder:
    return Decoder(config, builder) if isinstance(config, DecoderConfig) else build(config, builder)


def build(config: EncoderConfig, source: LayerSource) -> Encoder:
    """Make the encoder that a config describes, of the layers of any source."""
    return _MODELS[config.model_type](config, source)
