# SPDX-License-Identifier: Apache-2.0
"""Texts and conversations as a decoder's tokens, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import _checks, nn
from octavo._text import decoded
from octavo.io.folder import parse_json
from octavo.io.tokenizer import check_texts, tokenizer_from
from octavo.models.chat import render_chat
from octavo.models.decoder_config import DecoderConfig

if TYPE_CHECKING:
    from octavo._types import Int64

_TOKENIZER, _SETTINGS = "tokenizer.json", "tokenizer_config.json"
_TEMPLATE, _TEMPLATES = "chat_template.jinja", "chat_template.json"
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")


class DecoderTexts(nn.Module):
    """What makes tokens of prompts; see `Decoder`."""

    config: DecoderConfig
    files: dict[str, bytes]

    @cached_property
    def _tokenizer(self) -> Any:
        content = self.files.get(_TOKENIZER)
        return None if content is None else tokenizer_from(content, _TOKENIZER)

    @property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer` of the model's folder."""
        if self._tokenizer is None:
            raise ValueError(
                f"text needs the {_TOKENIZER} of the model's folder, and there was none; pass token"
                " ids"
            )
        return self._tokenizer

    @property
    def chat_template(self) -> str:
        """The template by which conversations become text, of the model's folder."""
        if _TEMPLATE in self.files:
            return decoded(self.files[_TEMPLATE])
        for name in (_SETTINGS, _TEMPLATES):
            found = self._json(name).get("chat_template")
            if isinstance(found, list):  # several, by name
                named = [one for one in found if isinstance(one, dict)]
                found = {one.get("name"): one.get("template") for one in named}.get("default")
            if isinstance(found, str):
                return found
        raise ValueError("messages need a chat template, and the model's folder had none")

    def prompt_ids(
        self, prompt: Any, name: str = "prompt", *, any_length: bool = False
    ) -> list[int]:
        """Return the tokens of a text, of messages, or of token ids, checked.

        Parameters
        ----------
        prompt : str, sequence of dict, or array_like of int, shape (tokens,)
        name : str
            What errors call it.
        any_length : bool
            Whether it may be longer than the model's context.
        """
        if isinstance(prompt, str):
            check_texts([prompt], name)
            ids: list[int] = self.tokenizer.encode(prompt).ids
        elif is_conversation(prompt):
            values = {key: _token(self._json(_SETTINGS).get(key)) for key in _NAMED}
            text = render_chat(self.chat_template, prompt, **values)
            check_texts([text], name)
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        elif prompt is None or isinstance(prompt, (Mapping, bytes, int)):
            kind = type(prompt).__name__
            raise TypeError(
                f"{name}: expected a text, a list of messages, or token ids, got {kind}"
            )
        else:
            array = _checks.as_ids(prompt, name)
            _checks.check_shape(array, (None,), name)
            ids = array.tolist()
        if not ids:
            raise ValueError(f"{name}: expected at least one token, got none")
        if len(ids) > self.config.positions and not any_length:
            raise ValueError(
                f"{name}: {len(ids)} tokens, the model has {self.config.positions} positions"
            )
        self.check_ids(np.array(ids, np.int64), name)
        return ids

    def check_ids(self, ids: Int64, name: str) -> None:
        """Refuse tokens that the vocabulary does not have."""
        if ids.size and not 0 <= ids.min() <= ids.max() < self.config.vocab_size:
            bad = ids.min() if ids.min() < 0 else ids.max()
            raise ValueError(
                f"{name}: expected values in [0, {self.config.vocab_size - 1}], got {bad}"
            )

    def text_of(self, ids: list[int]) -> str:
        """Return what tokens say, without those that only structure texts."""
        text: str = self.tokenizer.decode(ids)
        return text

    @property
    def has_tokenizer(self) -> bool:
        """Whether tokens can be told as text: a tokenizer is there, and the library for it."""
        try:
            return self._tokenizer is not None
        except ModuleNotFoundError:
            return False

    def _json(self, name: str) -> dict[str, Any]:
        content = self.files.get(name)
        return {} if content is None else parse_json(Path(name), content)


def is_conversation(prompt: Any) -> bool:
    """Whether a prompt is a list of messages."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and isinstance(prompt[0], Mapping)


def _token(value: Any) -> Any:
    """Return a special token, which may be described by an object."""
    return value.get("content") if isinstance(value, dict) else value
