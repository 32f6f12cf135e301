# SPDX-License-Identifier: Apache-2.0
"""Texts instead of token ids: cut into tokens, run in batches of like length, given in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from octavo._text import shown
from octavo._types import Int64
from octavo._warn import warn
from octavo.io.folder import parse_json
from octavo.io.tokenizer import Tokenizer, Tokens

Progress = Callable[[int, int], None]
"""Gets how many texts are done, of how many."""

BATCH_TOKENS = 512
"""What a batch has by default, padding included: all of it stays in the caches of a core."""


class TextSettings(NamedTuple):
    """What a folder says of texts.

    Attributes
    ----------
    limit : int
        Tokens of a text that are read.
    lower : bool
        Whether texts are written small first.
    prompts : dict of str to str
        What stands before texts, by what they are for.
    default : str or None
        The prompt that is taken if none is named.
    has_types : bool
        Whether the model is told which of two texts a token is of.
    """

    limit: int
    lower: bool
    prompts: dict[str, str]
    default: str | None
    has_types: bool

    def prompt(self, name: str | None) -> str:
        """Return a prompt's text; without a name, the default's."""
        chosen = self.default if name is None else name
        if chosen is None:
            return ""
        if chosen not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise ValueError(f"prompt_name: expected one of the folder's ({known}), got {chosen!r}")
        return self.prompts[chosen]


def is_text(inputs: object) -> bool:
    """Whether these are texts, and not token ids; an empty list is a list of texts."""
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind in "UO" and inputs.ndim == 1 and all(map(_is_str, inputs))
    return _is_str(inputs) or (
        isinstance(inputs, Sequence) and (not inputs or any(map(_is_str, inputs)))
    )


def _is_str(value: object) -> bool:
    return isinstance(value, str)


def read_settings(files: Mapping[str, bytes], positions: int) -> TextSettings:
    """Return what a folder's files say of texts, for a model of so many positions.

    Raises
    ------
    ValueError
        For a value of another kind; the message names the file.
    """
    sentence = _read(files, "sentence_bert_config.json")
    tokenizer = _read(files, "tokenizer_config.json")
    limit = sentence.get("max_seq_length")
    if limit is None:
        limit = tokenizer.get("model_max_length", positions)
    named = tokenizer.get("model_input_names")
    has_types = not isinstance(named, list) or "token_type_ids" in named
    is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
    if not is_number or not limit >= 1:
        raise ValueError(
            f"sentence_bert_config.json: max_seq_length is {shown(limit)}, expected a number"
        )
    name = "config_sentence_transformers.json"
    config = _read(files, name)
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(map(_is_str, prompts.values())):
        raise ValueError(f"{name}: prompts is {shown(prompts)}, expected strings by their names")
    if default is not None and default not in prompts:
        raise ValueError(f"{name}: default_prompt_name {shown(default)} is none of its prompts")
    lower = sentence.get("do_lower_case") is True
    return TextSettings(int(min(limit, positions)), lower, prompts, default, has_types)


def _read(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    return parse_json(Path(name), files[name]) if name in files else {}


def cut(
    tokenizer: Tokenizer,
    settings: TextSettings,
    texts: Sequence[str],
    second: Sequence[str] | None = None,
) -> list[Tokens]:
    """Cut texts into tokens; one warning tells how many were longer than is read."""
    if settings.lower:
        texts = [text.lower() if _is_str(text) else text for text in texts]
    rows = tokenizer(texts, settings.limit, second)
    shortened = sum(row.is_cut for row in rows)
    if shortened:
        warn(
            f"{shortened} of {len(rows)} texts are longer than {settings.limit} tokens; what is "
            "beyond was not read"
        )
    return rows


def by_length(lengths: Int64, batch_tokens: int) -> Iterator[Int64]:
    """Yield the places of rows, the longest first, as many as `batch_tokens` have room for."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        places = order[start : start + max(1, batch_tokens // longest)]
        yield places
        start += len(places)
