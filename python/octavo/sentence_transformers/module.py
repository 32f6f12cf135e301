# SPDX-License-Identifier: Apache-2.0
"""The one module of a model: an octavo encoder, with what sentence-transformers calls."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from octavo._checks import integer
from octavo._text import shown
from octavo.io.folder import write_files, write_json
from octavo.io.tokenizer import padded
from octavo.models import Encoder
from octavo.models.texts import cut

STATES = "states"
"""The argument of a call that asks for the hidden states beside the sentence vectors."""

_BESIDE_IDS = ("attention_mask", "token_type_ids")


class EncoderModule(torch.nn.Module):
    """Tokenizer, encoder, pooling and all that comes behind, by octavo.

    Parameters
    ----------
    encoder : octavo.models.Encoder
    """

    forward_kwargs = frozenset({STATES})

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self._tokenizer: Any = None

    def preprocess(
        self, inputs: Sequence[str], prompt: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Cut texts into tokens."""
        unknown = sorted(set(options) - {STATES, "task"})
        if unknown:
            raise ValueError(f"{unknown[0]}: not supported by octavo.sentence_transformers")
        texts: list[Any] = [prompt + text for text in inputs] if prompt else list(inputs)
        encoder = self.encoder
        rows = cut(encoder.tokenizer, encoder.text_settings, texts)
        ids, types, mask = padded(rows)
        features: dict[str, Any] = {"input_ids": torch.from_numpy(ids)}
        if encoder.takes_types:
            features["token_type_ids"] = torch.from_numpy(types)
        features["attention_mask"] = torch.from_numpy(mask).long()
        if prompt:
            limit = encoder.text_settings.limit
            features["prompt_length"] = encoder.tokenizer.leading(prompt, limit)
        return features

    @torch.compiler.disable
    def forward(self, features: dict[str, Any], states: bool = True) -> dict[str, Any]:
        """Add sentence vectors to token ids, and the hidden states if they are asked for."""
        ids = features["input_ids"].numpy()
        mask, types = (features[name].numpy() if name in features else None for name in _BESIDE_IDS)
        if types is not None and not types.any():
            types = None
        encoder, skipped = self.encoder, features.get("prompt_length", 0)
        found = dict(features)
        if states:
            hidden = encoder(ids, mask, types)
            kept = None if mask is None else mask.astype(bool)
            vectors = encoder.sentence(hidden, kept, prompt_tokens=skipped)
            found["token_embeddings"] = torch.from_numpy(hidden)
        else:
            vectors = encoder.encode(ids, mask, types, prompt_tokens=skipped)
        found["sentence_embedding"] = torch.from_numpy(vectors)
        return found

    @property
    def max_seq_length(self) -> int:
        """How many tokens of a text are read."""
        return self.encoder.text_limit

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        limit = integer(value, "max_seq_length", 1, self.encoder.config.positions)
        self.encoder.text_settings = self.encoder.text_settings._replace(limit=limit)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer as transformers has it, to look at: `preprocess` has its own."""
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            with tempfile.TemporaryDirectory() as folder:
                write_files(self.encoder.files, Path(folder))
                write_json(Path(folder, "config.json"), self.encoder.config.raw)
                self._tokenizer = AutoTokenizer.from_pretrained(folder)
        return self._tokenizer

    def get_embedding_dimension(self) -> int:
        """Return the size of a sentence vector."""
        return self.encoder.sentence.width

    def extra_repr(self) -> str:
        """Say which encoder it is."""
        return f"{self.encoder.architecture}, size={self.get_embedding_dimension()}"

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        """Refuse to move, or to compute in another type."""
        moved = fn(torch.zeros(0))
        if moved.device.type != "cpu" or moved.dtype != torch.float32:
            raise ValueError(
                "device, dtype: expected 'cpu' and torch.float32, octavo has no other; got "
                f"{shown(str(moved.device))} and {moved.dtype}"
            )
        return super()._apply(fn, recurse)
