# SPDX-License-Identifier: Apache-2.0
"""A text as windows of tokens, as decoders are measured and calibrated on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from octavo import _checks
from octavo._files import read_bytes
from octavo._text import decoded
from octavo._types import Int64
from octavo.data.batches import Batch, Batches

CONTEXT = 512


class LanguageModel(Protocol):
    """What reading a text asks of a decoder."""

    @property
    def config(self) -> Any:
        """Its sizes."""

    @property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer` of its folder."""

    def check_ids(self, ids: Int64, name: str) -> None:
        """Refuse tokens that the vocabulary does not have."""


class Windows(NamedTuple):
    """A text in windows, each a text of its own to the model.

    Attributes
    ----------
    rows : list of int64 arrays
        The tokens of each: all have `context` but the last, which has the rest of the text.
    before : int
        How many of each stand before a text, as the tokenizer begins one.
    context : int
    """

    rows: list[Int64]
    before: int
    context: int

    @property
    def known(self) -> int:
        """How many tokens at the beginning of a window are not predicted."""
        return max(1, self.before)


def read_windows(text: Any, model: LanguageModel, context: int | None, name: str) -> Windows:
    """Cut a text into windows of tokens.

    Parameters
    ----------
    text : path, or array_like of int, shape (tokens,)
        A file in UTF-8, or tokens, of which windows have nothing before them.
    model : Decoder
    context : int, optional
        Tokens of a window, those included that stand before the text. Default: 512, or the model's
        positions where those are fewer.
    name : str
        What errors call tokens.

    Raises
    ------
    TypeError, ValueError, OSError
        For what is no text or no tokens, less than two tokens, or a context of more tokens than the
        model has positions.
    """
    if context is None:
        context = min(CONTEXT, model.config.positions)
    context = _checks.integer(context, "context", 2)
    if context > model.config.positions:
        raise ValueError(
            f"context: expected at most {model.config.positions}, the model's positions, got "
            f"{context}"
        )
    before: list[int] = []
    if isinstance(text, (str, os.PathLike)):
        name = os.fspath(text)
        before, ids = _tokens(text, model)
    else:
        ids = _checks.as_ids(text, name, own=True)
        _checks.check_shape(ids, (None,), name)
    model.check_ids(ids, name)
    if len(ids) < 2:
        raise ValueError(f"{name}: expected a text of at least 2 tokens, got {len(ids)}")
    if context <= len(before):
        raise ValueError(
            f"context: expected more than the {len(before)} tokens before each text, got {context}"
        )
    step = context - len(before)
    start = np.array(before, np.int64)
    parts = [ids[first : first + step] for first in range(0, len(ids), step)]
    rows = [np.concatenate([start, part]) for part in parts]
    # A single token that follows nothing is not predicted.
    return Windows([row for row in rows if len(row) > 1], len(before), context)


def is_text(calibration: object) -> bool:
    """Whether calibration data is a file of text."""
    return isinstance(calibration, (str, os.PathLike)) and Path(calibration).suffix == ".txt"


def text_batches(path: str | os.PathLike[str], model: LanguageModel) -> Batches:
    """Return the windows of a text, one a batch: calibration data of a decoder."""
    rows = read_windows(path, model, None, "calibration").rows
    return Batches([Batch(row[None], np.ones((1, len(row)), np.bool_), None) for row in rows])


def _tokens(path: str | os.PathLike[str], model: LanguageModel) -> tuple[list[int], Int64]:
    """Return the tokens that begin a text, and those of a file."""
    content = read_bytes(path)
    try:
        text = decoded(content)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
    ids = np.array(model.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
    framed = model.tokenizer.encode("a")
    count = framed.special_tokens_mask.index(0) if 0 in framed.special_tokens_mask else 0
    return framed.ids[:count], ids
