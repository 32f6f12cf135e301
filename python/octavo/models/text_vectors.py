# SPDX-License-Identifier: Apache-2.0
"""Texts to vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from octavo import functional
from octavo._checks import boolean, choice, integer
from octavo._types import Float32
from octavo.models.sentence import SentenceModules, normalized
from octavo.models.text_model import Run, TextModel
from octavo.models.texts import BATCH_TOKENS, Progress, read_inputs

PRECISIONS = ("float32", "int8", "binary")


class _Finish(NamedTuple):
    """What is done to hidden states of a batch, and to vectors; as `encode` takes it."""

    normalize: bool | None
    truncate_dim: int | None
    precision: str
    output: str
    skipped: int

    def __call__(self, sentence: SentenceModules, hidden: Float32, mask: Any) -> Any:
        if self.output == "tokens":
            return [row if mask is None else row[mask[i]] for i, row in enumerate(hidden)]
        vectors = sentence(hidden, mask, normalize=self.normalize, prompt_tokens=self.skipped)
        if self.truncate_dim is not None:
            vectors = np.ascontiguousarray(vectors[:, : self.truncate_dim])
            vectors = normalized(vectors) if self.normalize else vectors
        if self.precision == "int8":
            return functional.quantize_dynamic(vectors, symmetric=True)[0]
        return np.packbits(vectors > 0, axis=1) if self.precision == "binary" else vectors


class TextVectors(TextModel):
    """What makes vectors of texts; see `Encoder`."""

    @property
    def sentence(self) -> SentenceModules:
        """What makes a sentence vector of hidden states."""
        raise NotImplementedError

    def checked(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        """Return the arguments of a call as `forward` takes them, or raise."""
        raise NotImplementedError

    def encode(
        self,
        inputs: Any,
        attention_mask: npt.ArrayLike | None = None,
        token_type_ids: npt.ArrayLike | None = None,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        precision: str = "float32",
        output: str = "sentence",
        batch_tokens: int = BATCH_TOKENS,
        progress: Progress | None = None,
        prompt_tokens: int = 0,
    ) -> Any:
        """Compute sentence vectors as sentence-transformers does with the model's folder.

        Its ``modules.json`` says how to pool (first token, mean, maximum, ...) and what comes
        then: Dense, LayerNorm, Normalize. Without one, a vector is the mean of the hidden states
        over the tokens of its row. Padding and batch mates do not change a text's result; a row
        without any token gives zeros where it is pooled.

        Parameters
        ----------
        inputs : str, column of str, or array_like of int, shape (batch, tokens)
            Texts (a list, an array, a column of a table), which the tokenizer of the model's folder
            cuts into tokens, as many as its ``max_seq_length``; what is cut off is told in a
            warning. Or token ids; or a mapping with "input_ids" and perhaps the following two.
        attention_mask, token_type_ids
            As for calling the model, beside token ids.
        prompt_name : str, optional
            Of the folder's prompts, the one to put before each text; by default its
            ``default_prompt_name``.
        prompt : str, optional
            The prompt itself.
        normalize : bool, optional
            Whether vectors get length 1; by default as the folder says.
        truncate_dim : int, optional
            Keep so many numbers of each vector, for models that are trained for it.
        precision : "float32", "int8" or "binary"
            "int8" gives symmetric codes with a scale per vector, which is left out: compare by
            cosine. "binary" gives a bit per number, whether it is above 0, eight to a uint8.
        output : "sentence" or "tokens"
            Vectors of texts, or the hidden states of their tokens.
        batch_tokens : int
            Hold as many rows at a time as have so many tokens, padding included. Results do not
            depend on it, nor does speed much.
        progress : callable, optional
            ``progress(done, total)``, after each batch.
        prompt_tokens : int
            How many token ids at the start of each row are a prompt's: they are not pooled if the
            folder says so (``include_prompt``).

        Returns
        -------
        numpy.ndarray, shape (batch, size), or (size,) of a single string
            In the order of the texts. The size is `hidden_size`, unless vectors are put together,
            a Dense changes it, or `truncate_dim`. Of ``output="tokens"``, a list of float32 arrays
            (tokens, hidden_size).

        Raises
        ------
        TypeError, ValueError
            For a text that is no string, a prompt that the folder does not have, a module that
            octavo does not run, a folder that contradicts itself; the message names it.
        FileNotFoundError
            If the model's folder had no tokenizer.
        """
        choice(precision, "precision", PRECISIONS)
        choice(output, "output", ("sentence", "tokens"))
        if normalize is not None:
            boolean(normalize, "normalize")
        if truncate_dim is not None:
            integer(truncate_dim, "truncate_dim", 1, self.sentence.width)
        integer(batch_tokens, "batch_tokens", 1)
        skipped = integer(prompt_tokens, "prompt_tokens", 0)
        read = read_inputs(inputs, attention_mask, token_type_ids)
        if read.texts is None:
            if prompt or prompt_name is not None:
                raise TypeError("prompt: expected texts beside it, got token ids")
            ids, mask, types = self.checked(read.ids, read.mask, read.types)
            finish = _Finish(normalize, truncate_dim, precision, output, skipped)
            runs = self.run_ids(ids, mask, types, batch_tokens, progress)
            return self._finished(len(ids), runs, finish)
        if skipped:
            raise TypeError("inputs: expected token ids beside prompt_tokens, got texts")
        if prompt is not None and not isinstance(prompt, str):
            raise TypeError(f"prompt: expected a string, got {type(prompt).__name__}")
        before = self.text_settings.prompt(prompt_name) if prompt is None else prompt
        if before and not self.sentence.include_prompt:
            skipped = self.tokenizer.leading(before, self.text_settings.limit)
        texts = [before + text if isinstance(text, str) else text for text in read.texts]
        finish = _Finish(normalize, truncate_dim, precision, output, skipped)
        runs = self.run_texts(texts, None, batch_tokens, progress)
        found = self._finished(len(texts), runs, finish)
        return found[0] if read.is_one else found

    def _finished(self, count: int, runs: Iterator[Run], finish: _Finish) -> Any:
        """Return what becomes of the hidden states of so many rows, in order."""
        found: list[Any] = [None] * count
        for places, mask, hidden in runs:
            for place, row in zip(places, finish(self.sentence, hidden, mask), strict=True):
                found[place] = row
        if finish.output == "tokens":
            return found
        if not found:
            nothing = np.zeros((0, 1, self.config.hidden_size), np.float32)
            return finish(self.sentence, nothing, None)
        return np.stack(found)

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """Compute vectors of questions, with the folder's prompt "query" if any; see `encode`."""
        return self._encode_as("query", inputs, options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """Compute vectors of what is searched, with the prompt "document" if any; see `encode`."""
        return self._encode_as("document", inputs, options)

    def _encode_as(self, name: str, inputs: Any, options: dict[str, Any]) -> Any:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            # As in sentence-transformers, the default prompt is none of these two.
            options["prompt"] = self.text_settings.prompts.get(name, "")
        return self.encode(inputs, **options)
