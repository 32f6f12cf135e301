# SPDX-License-Identifier: Apache-2.0
"""Texts instead of token ids: cut into tokens, run in batches of like length, given in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from octavo._text import shown
from octavo._types import Int64
from octavo._warn import warn
from octavo.io.folder import parse_json
from octavo.io.tokenizer import Tokenizer, Tokens
from octavo.models.packing import FUSED_TOKENS

Progress = Callable[[int, int], None]
"""Gets how many texts are done, of how many."""

BATCH_TOKENS = FUSED_TOKENS
"""What a batch has by default, padding included: what goes through a model together, or less."""


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
        if not _is_str(chosen) or chosen not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise ValueError(
                f"prompt_name: expected one of the folder's ({known}), got {shown(chosen)}"
            )
        return self.prompts[chosen]


class Inputs(NamedTuple):
    """What a call is given to read.

    Attributes
    ----------
    texts : list or None
        Texts, one of them a string at least, or none at all; None if there are token ids.
    is_one : bool
        Whether it was a single string.
    ids, mask, types
        Token ids, and what goes with them, as they came.
    """

    texts: list[Any] | None
    is_one: bool
    ids: Any
    mask: Any
    types: Any


def read_inputs(inputs: Any, mask: Any, types: Any) -> Inputs:
    """Tell texts from token ids.

    Raises
    ------
    TypeError, ValueError
        For what is neither, a mapping without ids, and a mask or types beside texts.
    """
    if isinstance(inputs, Mapping):
        unknown = sorted(set(inputs) - {"input_ids", "attention_mask", "token_type_ids"}, key=str)
        if "input_ids" not in inputs or unknown:
            raise ValueError(
                "inputs: expected input_ids, perhaps attention_mask and token_type_ids, got "
                f"{sorted(map(str, inputs))}"
            )
        ids = inputs["input_ids"]
        # No rows of ids are no texts either, and have no shape to be checked.
        texts: list[Any] | None = [] if isinstance(ids, Sequence) and not ids else None
        return Inputs(texts, False, ids, inputs.get("attention_mask"), inputs.get("token_type_ids"))
    is_one = _is_str(inputs)
    texts = [inputs] if is_one else _texts_of(inputs)
    if texts is not None and (mask is not None or types is not None):
        raise TypeError(
            "inputs: expected token ids beside attention_mask and token_type_ids, got texts"
        )
    return Inputs(texts, is_one, inputs, mask, types)


def _texts_of(inputs: Any) -> list[Any] | None:
    """Return a column of texts as a list; None for what may be token ids."""
    if getattr(inputs, "ndim", 1) > 1:
        return None
    items = list_of(inputs, "inputs", "texts or token ids")
    if not items or any(map(_is_str, items)):
        return items
    first = items[0]
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if first is None or isinstance(first, (str, bytes)):
        raise TypeError(f"inputs: item 0: expected a string or token ids, got {shown(items[0])}")
    return None


def list_of(column: Any, name: str, expected: str = "a list of strings") -> list[Any]:
    """Return the items of a list, an array, a column of a table; or raise."""
    others = (str, bytes, bytearray, Mapping, Set)
    is_column = isinstance(column, Collection) and not isinstance(column, others)
    if not is_column or getattr(column, "ndim", 1) != 1:
        raise TypeError(f"{name}: expected {expected}, got {type(column).__name__}")
    return list(column)


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
    """Yield the places of rows, the longest first, as many as `batch_tokens` have room for.

    Rows without tokens are by themselves: what pads them would be read as if it were one.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        places = order[start : start + max(1, batch_tokens // longest)]
        if lengths[places[0]]:
            places = places[lengths[places] > 0]
        yield places
        start += len(places)
