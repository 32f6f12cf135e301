# SPDX-License-Identifier: Apache-2.0
"""Texts through an encoder's head: logits, labels, an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from octavo._checks import integer
from octavo._types import Float32, Int64
from octavo.io.tokenizer import Tokenizer, check_texts, padded
from octavo.models.answers import Ranked, labels_of, scores_of
from octavo.models.config import SEQUENCE
from octavo.models.heads import Headed
from octavo.models.texts import (
    BATCH_TOKENS,
    Progress,
    TextSettings,
    by_length,
    cut,
    list_of,
    read_inputs,
    read_settings,
)


class Run(NamedTuple):
    """Rows of like length that were run: their places, which tokens count, the hidden states."""

    places: Int64
    mask: npt.NDArray[np.bool_]
    hidden: Float32


class TextModel(Headed):
    """What reads texts for a head; see `Encoder`."""

    files: dict[str, bytes]
    source: Path | None

    @cached_property
    def text_settings(self) -> TextSettings:
        """What the model's folder says of texts: their longest length, and prompts."""
        return read_settings(self.files, self.config.positions)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model's folder."""
        if self.source is None:
            raise ValueError(
                "texts need the model's tokenizer, and this model was not loaded from a folder; "
                "pass token ids"
            )
        return Tokenizer(self.files, self.source)

    @property
    def text_limit(self) -> int:
        """How many tokens of a text are read."""
        return self.text_settings.limit

    @property
    def takes_types(self) -> bool:
        """Whether the model is told which of two texts a token is of."""
        return self.config.token_types > 0 and self.text_settings.has_types

    def run_texts(
        self,
        texts: Sequence[str],
        second: Sequence[str] | None = None,
        batch_tokens: int = BATCH_TOKENS,
        progress: Progress | None = None,
    ) -> Iterator[Run]:
        """Run texts, in batches of like length."""
        rows = cut(self.tokenizer, self.text_settings, texts, second)
        words = self.config.vocab_size
        for index, row in enumerate(rows):
            if max(row.ids, default=0) >= words:
                raise ValueError(
                    f"texts: item {index}: {self.source}: the tokenizer gives token id "
                    f"{max(row.ids)}, the model's vocab_size is {words}"
                )

        def batch(places: Int64) -> tuple[Any, Any, Any]:
            ids, types, mask = padded([rows[place] for place in places])
            return ids, mask, types if self.takes_types and types.any() else None

        lengths = np.array([len(row.ids) for row in rows], np.int64)
        return self._run(lengths, batch, batch_tokens, progress)

    def run_ids(
        self,
        ids: Int64,
        mask: npt.NDArray[np.bool_] | None,
        types: Int64 | None,
        batch_tokens: int,
        progress: Progress | None,
    ) -> Iterator[Run]:
        """Run rows of token ids likewise; what pads all rows of a batch is left out."""
        if mask is None:
            mask = np.ones(ids.shape, np.bool_)
        lengths = (mask * np.arange(1, ids.shape[1] + 1)).max(axis=1, initial=0)

        def batch(places: Int64) -> tuple[Any, Any, Any]:
            part = (places, slice(lengths[places[0]]))
            return ids[part], mask[part], None if types is None else types[part]

        return self._run(lengths, batch, batch_tokens, progress)

    def _run(
        self,
        lengths: Int64,
        batch: Callable[[Int64], tuple[Any, Any, Any]],
        batch_tokens: int,
        progress: Progress | None,
    ) -> Iterator[Run]:
        done = 0
        for places in by_length(lengths, batch_tokens):
            ids, mask, types = batch(places)
            yield Run(places, mask, self(ids, None if mask.all() else mask, types))
            done += len(places)
            if progress is not None:
                progress(done, len(lengths))

    def logits(
        self,
        inputs: Any,
        attention_mask: npt.ArrayLike | None = None,
        token_type_ids: npt.ArrayLike | None = None,
    ) -> Any:
        """Compute what the model's head gives.

        Parameters
        ----------
        inputs, attention_mask, token_type_ids
            Texts or token ids, as for `encode`.

        Returns
        -------
        numpy.ndarray of float32
            Of a sequence classifier, shape (batch, labels); of a classifier of tokens, shape
            (batch, tokens, labels); of one that answers questions, shape (batch, tokens, 2): how
            much a token looks like the answer's first, and like its last. The last two are lists
            of an array for each of several texts.

        Raises
        ------
        ValueError
            If the model has no head.
        """
        self.require_head()
        read = read_inputs(inputs, attention_mask, token_type_ids)
        if read.texts is None:
            return self.logits_of(self(read.ids, read.mask, read.types), read.mask)
        found = self._text_logits(read.texts)
        return found[0] if read.is_one else found

    def _text_logits(self, texts: list[str], second: list[str] | None = None) -> Any:
        found: list[Any] = [None] * len(texts)
        for places, mask, hidden in self.run_texts(texts, second):
            for place, row, kept in zip(places, self.logits_of(hidden, mask), mask, strict=True):
                found[place] = row if self.task == SEQUENCE else row[kept]
        if self.task != SEQUENCE:
            return found
        return np.stack(found) if found else np.zeros((0, self.config.labels), np.float32)

    def classify(
        self,
        inputs: Any,
        attention_mask: npt.ArrayLike | None = None,
        token_type_ids: npt.ArrayLike | None = None,
        *,
        top: int | None = None,
    ) -> Any:
        """Name the class of each text.

        Parameters
        ----------
        inputs, attention_mask, token_type_ids
            Texts or token ids, as for `encode`.
        top : int, optional
            Name the so many likeliest, the likeliest first.

        Returns
        -------
        list of Label
            With its name and probability, see `octavo.models.Label`; with `top`, a list of lists.
            Of a single string, its label or list of labels.

        Raises
        ------
        ValueError
            If the model has no head, or one for something else.
        """
        self.require_head(SEQUENCE)
        count = 1 if top is None else integer(top, "top", 1)
        logits = self.logits(inputs, attention_mask, token_type_ids)
        named = labels_of(np.atleast_2d(logits), self.config.raw, count)
        found = [row[0] for row in named] if top is None else named
        return found[0] if isinstance(inputs, str) else found

    def rerank(self, query: str, texts: Sequence[str], *, top: int | None = None) -> list[Ranked]:
        """Order texts by how well they answer a query, the best first, by a cross-encoder.

        Parameters
        ----------
        query : str
        texts : sequence of str
        top : int, optional
            Return the best so many.

        Returns
        -------
        list of Ranked
            Places in `texts` and scores; of equal scores, the earlier text is first.

        Raises
        ------
        TypeError, ValueError
            For a text that is no string, and if the model is no sequence classifier with one label.
        """
        self.require_head(SEQUENCE)
        if self.config.labels != 1:
            raise ValueError(
                f"model: expected a cross-encoder with one label, got {self.config.labels} labels"
            )
        check_texts([query], "query")
        answers = list_of(texts, "texts")
        count = len(answers) if top is None else integer(top, "top", 1)
        scores = scores_of(self._text_logits([query] * len(answers), answers), self.config.raw)
        order = np.argsort(-scores, kind="stable")[:count]
        return [Ranked(int(index), float(scores[index])) for index in order]
