# SPDX-License-Identifier: Apache-2.0
"""The class that sentence-transformers' users know."""

from __future__ import annotations

import functools
import inspect
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentence_transformers
import torch

from octavo import models
from octavo.compression import Recipe, compress
from octavo.io.folder import parse_json
from octavo.models.loader import load_encoder
from octavo.sentence_transformers.module import STATES, EncoderModule

_SETTINGS = "config_sentence_transformers.json"
_LENGTHS = "sentence_bert_config.json"
_SIGNATURE = inspect.signature(sentence_transformers.SentenceTransformer.encode)
_LEAST_AT_ONCE = 512
"""Texts that are handed to octavo at a time, or more: it makes batches of like length of them."""


class SentenceTransformer(sentence_transformers.SentenceTransformer):
    """A `sentence_transformers.SentenceTransformer` that computes with octavo.

    Parameters
    ----------
    model_name_or_path : str, os.PathLike, octavo.models.Encoder or SentenceTransformer
        A model folder or a hub's model, as `octavo.models.load` takes it; a name without an owner
        is one of sentence-transformers' own, as with them.  Or an encoder, which is used and not
        copied; or a model of theirs, which is copied.
    recipe : str, dict or octavo.compression.Recipe, optional
        What to make of it, as `octavo.compress` takes it, ``"int8"`` for instance; by default it
        stays as it is stored.
    device : str, optional
        "cpu": octavo has no other.
    prompts, default_prompt_name, similarity_fn_name, truncate_dim
        As theirs; by default as the folder says.
    revision, token
        As `octavo.models.load`.

    Raises
    ------
    ValueError, OSError
        As `octavo.models.load` and `octavo.compress`.

    Notes
    -----
    ``encode`` takes what theirs takes.  `batch_size` changes neither results nor, much, the time:
    octavo makes its own batches.  ``processing_kwargs`` is refused.  There is nothing to train.

    Examples
    --------
    >>> from octavo.sentence_transformers import SentenceTransformer
    >>> model = SentenceTransformer("all-MiniLM-L6-v2", recipe="int8")  # doctest: +SKIP
    >>> model.encode(["a sentence", "another one"]).shape  # doctest: +SKIP
    (2, 384)
    """

    def __init__(
        self,
        model_name_or_path: Any,
        *,
        device: str | None = None,
        recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: Any = None,
        truncate_dim: int | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> None:
        _require_cpu(device)
        encoder = _encoder(model_name_or_path, revision, token)
        if recipe is not None:
            encoder = compress(encoder, recipe)
        stored, texts = _stored(encoder, _SETTINGS), encoder.text_settings
        super().__init__(
            modules=[EncoderModule(encoder)],
            device="cpu",
            prompts={**texts.prompts, **(prompts or {})},
            default_prompt_name=default_prompt_name or texts.default,
            similarity_fn_name=similarity_fn_name or stored.get("similarity_fn_name"),
            truncate_dim=stored.get("truncate_dim") if truncate_dim is None else truncate_dim,
        )

    @property
    def encoder(self) -> models.Encoder:
        """What computes."""
        found: models.Encoder = self[0].encoder
        return found

    @functools.wraps(sentence_transformers.SentenceTransformer.encode, assigned=())
    def encode(self, *arguments: Any, **options: Any) -> Any:
        """Compute vectors as theirs does, by octavo's own `octavo.models.Encoder.encode`."""
        bound = _SIGNATURE.bind_partial(self, *arguments, **options)
        bound.apply_defaults()
        given = bound.arguments
        devices = given["device"] if isinstance(given["device"], list) else [given["device"]]
        for device in devices:
            _require_cpu(device)
        if given["batch_size"] > 0:  # they refuse it otherwise
            given["batch_size"] = max(given["batch_size"], _LEAST_AT_ONCE)
        given["kwargs"][STATES] = given["output_value"] != "sentence_embedding"
        return super().encode(*bound.args[1:], **bound.kwargs)

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Refuse another choice than the one of the model's folder."""
        if include_prompt != self.encoder.sentence.include_prompt:
            raise NotImplementedError(
                "include_prompt: expected what the model's folder says, "
                f"{not include_prompt}; change it in the config.json of its pooling"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as `octavo.models.Encoder.save` does, with its prompts and settings.

        Parameters
        ----------
        path : str or os.PathLike
            A new folder, an empty one, or one with a saved model, which is replaced.
        """
        encoder = self.encoder
        settings = {
            "prompts": self.prompts,
            "default_prompt_name": self.default_prompt_name,
            "similarity_fn_name": self.similarity_fn_name,
            "truncate_dim": self.truncate_dim,
        }
        for name, changes in (
            (_SETTINGS, settings),
            (_LENGTHS, {"max_seq_length": self.max_seq_length}),
        ):
            content = json.dumps({**_stored(encoder, name), **changes}, indent=2, sort_keys=True)
            encoder.files = {**encoder.files, name: content.encode()}
        encoder.save(path)

    save_pretrained = save

    def push_to_hub(self, *_: Any, **__: Any) -> Any:
        """Refuse, before anything is made on the hub."""
        raise NotImplementedError("push_to_hub: save the model, and upload its folder: hf upload")


def _require_cpu(device: Any) -> None:
    if device is not None and torch.device(device).type != "cpu":
        raise ValueError(f"device: expected 'cpu', octavo has no other, got {device!r}")


def _encoder(model: Any, revision: str | None, token: str | bool | None) -> models.Encoder:
    in_memory = (models.Encoder, sentence_transformers.SentenceTransformer)
    if not isinstance(model, (str, os.PathLike, *in_memory)):
        raise TypeError(
            "model_name_or_path: expected a folder, a hub's name, or a model, got "
            f"{type(model).__name__}"
        )
    if isinstance(model, in_memory):
        for name, value in (("revision", revision), ("token", token)):
            if value is not None:
                raise ValueError(f"{name}: expected none, the model is in memory")
        if isinstance(model, models.Encoder):
            return model
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder)
            return load_encoder(folder)
    if isinstance(model, str) and "/" not in model and not Path(model).exists():
        model = f"sentence-transformers/{model}"
    return load_encoder(model, revision=revision, token=token)


def _stored(encoder: models.Encoder, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        parse_json(Path(name), encoder.files[name]) if name in encoder.files else {}
    )
    return found
