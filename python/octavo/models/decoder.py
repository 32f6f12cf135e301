# SPDX-License-Identifier: Apache-2.0
"""A decoder of the LLaMA family: tokens in, the logits of what follows out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import _checks, nn
from octavo._types import Float32, Int64
from octavo.models.adapters import AdaptedDecoder
from octavo.models.cache import Cache, alone_with, check_caches
from octavo.models.decoder_blocks import DecoderBlocks
from octavo.models.decoder_config import DecoderConfig
from octavo.models.decoder_parts import DecoderSource, DecoderStack
from octavo.models.fused import Fused, FusedLayers, fused
from octavo.models.generate import Generating
from octavo.models.gguf_weights import Rounded
from octavo.models.tokens import Tokens

PASS_TOKENS = 512
"""Rows that run through the layers together; more, and what lies between them leaves the caches."""


@dataclass(frozen=True)
class _Tied:
    """The layer that gives the logits by the numbers of the table of tokens."""

    table: nn.Module
    head: nn.Module


class Decoder(Generating, DecoderBlocks, AdaptedDecoder):
    """A decoder: LLaMA, Mistral, Gemma 3, Phi-3, Qwen2, Qwen3 and what has their form.

    The layers are attributes under the names of the checkpoint, so that a layer is swapped by
    assigning another: ``model.model.layers[0].mlp.down_proj = other``.

    A row of logits depends on the tokens before it alone, bit for bit: not on what was cached, on
    how a text was cut, on other sequences and their adapters, the number of threads or the CPU.
    Only what BLAS multiplies is an exception: weights of 16 bits, and float32 weights, those of
    adapters too, on the NumPy backend and the tier "scalar".

    Attributes
    ----------
    config : DecoderConfig
        Sizes and choices.
    model : Module
        The table of tokens, the layers, and the norm behind them.
    lm_head : Module or None
        The layer that gives the logits; None if the table of tokens does.
    source : pathlib.Path or None
        The folder the model was loaded from.
    files : dict of str to bytes
        The tokenizer's files by their names in the folder.
    end_ids : tuple of int
        Tokens that end texts.
    attention_precision : str
        How a new `Cache` holds keys and values: "int8", which is "auto", or "float32".
    recipe : dict or None
        What `octavo.compress` did to make this model.
    rounded : tuple of octavo.models.Rounded
        Of a GGUF file, what became of weights that do not run as they are; of a model whose weights
        are shared, where this process made them.
    """

    # A tensor that every checkpoint has.
    anchor = "model.norm.weight"
    task = ""

    def __init__(self, config: DecoderConfig, source: DecoderSource) -> None:
        self.config = config
        self.model = DecoderStack("model", config, source)
        self.lm_head: nn.Module | None = None
        if not config.is_tied:
            self.lm_head = source.linear(
                "lm_head", config.vocab_size, config.hidden_size, has_bias=False
            )
        self.end_ids = config.end_ids
        self.source: Path | None = None
        self.files: dict[str, bytes] = {}
        self.recipe: dict[str, Any] | None = None
        self.rounded: tuple[Rounded, ...] = ()
        self.attention_precision = "auto"
        self._tied: _Tied | None = None

    @property
    def architecture(self) -> str:
        """The class's name in transformers."""
        return self.config.architecture

    @classmethod
    def prefixes(cls) -> tuple[str, ...]:
        """Beginnings of the names of all tensors that belong to the model."""
        return ("model.", "lm_head.")

    def bias_switch(self, name: str) -> str | None:
        """Return the key of config.json that says whether a layer has a bias.

        None: all of that name have; "": none has.
        """
        kind = name.rpartition(".")[2]
        if kind in ("q_proj", "k_proj", "v_proj") and self.config.model_type == "qwen2":
            return None
        if self.config.model_type in ("llama", "qwen3") and ".self_attn." in name:
            return "attention_bias"
        return "mlp_bias" if self.config.model_type == "llama" and ".mlp." in name else ""

    def __call__(
        self, input_ids: npt.ArrayLike, cache: Cache | Sequence[Cache] | None = None
    ) -> Float32:
        """Compute the logits of what follows each token.

        Parameters
        ----------
        input_ids : array_like of int, shape (tokens,) or (batch, tokens)
            Token ids.
        cache : Cache, or one for each row of a batch, optional
            Of the tokens before these, which are then kept there too; computed with the adapter in
            use, if there is one.

        Returns
        -------
        numpy.ndarray of float32, shape (tokens, vocab_size) or (batch, tokens, vocab_size)

        Raises
        ------
        TypeError, ValueError
            If an argument is not as expected, or there are more tokens than positions.
        """
        ids = _checks.as_ids(input_ids, "input_ids", own=True)
        if ids.ndim not in (1, 2):
            raise ValueError(
                f"input_ids: expected shape (tokens,) or (batch, tokens), got {ids.shape}"
            )
        rows = np.atleast_2d(ids)
        for row in rows:
            self.check_ids(row, "input_ids")
        if cache is None:
            caches = [Cache(self) for _ in rows]
        else:
            caches = [cache] if isinstance(cache, Cache) else list(cache)
        if len(caches) != len(rows):
            raise ValueError(f"cache: expected {len(rows)}, one for each row, got {len(caches)}")
        check_caches(caches, self)
        with alone_with(caches):
            for one in caches:
                one.belong_to(self.adapters.get(self.active_adapter or ""))
            found = self.advance(list(rows), caches, [rows.shape[1]] * len(rows))
        logits = np.concatenate(found) if found else np.empty((0, self.config.vocab_size), "f4")
        return logits.reshape(*ids.shape, self.config.vocab_size)

    def advance(
        self, rows: Sequence[Int64], caches: Sequence[Cache], wanted: Sequence[int]
    ) -> list[Float32]:
        """Run further tokens of some sequences, side by side.

        Parameters
        ----------
        rows : sequence of int64 arrays
            The next tokens of each sequence, checked.
        caches : sequence of Cache
            Of what comes before them; they keep the tokens too, and say which adapter is used.  An
            exception leaves those of before, and of passes that were done.  The caller has them
            alone (`Cache.alone`).
        wanted : sequence of int
            Of how many tokens, the last ones, logits are computed.

        Returns
        -------
        list of float32 arrays, shape (wanted, vocab_size)
        """
        self._check_caches(rows, caches)
        states: list[list[Float32]] = [[] for _ in rows]
        for part in _passes([len(ids) for ids in rows]):
            ids = [rows[index][start:stop] for index, start, stop in part]
            held = [caches[index] for index, _, _ in part]
            with self.using(held, [len(row) for row in ids]):
                hidden = self._run(ids, held)
            end = 0
            for index, start, stop in part:
                end += stop - start
                kept = min(stop - start, stop - (len(rows[index]) - wanted[index]))
                if kept > 0:
                    states[index].append(hidden[end - kept : end])
        together = [piece for pieces in states for piece in pieces]
        if not together:
            return [np.empty((0, self.config.vocab_size), np.float32) for _ in rows]
        with self.using(caches, wanted):
            logits = self.logits(self.model.norm(np.concatenate(together)))
        return [logits[start:stop] for start, stop in pairwise(accumulate(wanted, initial=0))]

    def logits(self, states: Float32) -> Float32:
        """Compute the logits of states behind the last norm, (rows, hidden_size)."""
        return self._head()(states)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a Hugging Face folder, as `Encoder.save` does."""
        from octavo.models.save import save_model

        save_model(self, folder)

    def _check_caches(self, rows: Sequence[Int64], caches: Sequence[Cache]) -> None:
        check_caches(caches, self)
        for ids, cache in zip(rows, caches, strict=True):
            cache.settle()
            if len(cache) + len(ids) > self.config.positions:
                before = f" behind {len(cache)} in the cache" if len(cache) else ""
                raise ValueError(
                    f"input_ids: {len(ids)} tokens{before}, the model has {self.config.positions} "
                    "positions"
                )

    def _run(self, rows: Sequence[Int64], caches: Sequence[Cache]) -> Float32:
        """Compute the states of one pass, before the last norm; caches keep its tokens."""
        # Of plain lists: after a step hardly anything of NumPy's code is in the CPU's caches.
        places = [
            len(cache) + index
            for cache, ids in zip(caches, rows, strict=True)
            for index in range(len(ids))
        ]
        offsets = [0, *accumulate(len(ids) for ids in rows)]
        held = [cache.held for cache in caches]
        tokens = Tokens(np.array(offsets, np.int64), np.array(places, np.int64), held)
        try:
            states: Float32 = self.model.embed(np.concatenate(rows))
            for part in self._fused().parts:
                states = part(states, tokens)
        except BaseException:
            for cache in caches:
                cache.settle()
            raise
        for cache, ids in zip(caches, rows, strict=True):
            cache.ids += ids.tolist()
        return states

    def _fused(self) -> Fused:
        layers, width = self.model.layers, self.config.hidden_size
        return fused(self, layers, width, lambda _: (), self.adapter_key, FusedLayers)

    def _head(self) -> nn.Module:
        """Return the layer that gives the logits; of a tied table one of the same numbers."""
        if self.lm_head is not None:
            return self.lm_head
        table: Any = self.model.embed_tokens
        if self._tied is None or self._tied.table is not table:
            self._tied = _Tied(table, nn.Linear.of(table.held_weight))
        return self._tied.head


def _passes(counts: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """Cut rows of sequences into passes: (sequence, from, to) of each part."""
    passes: list[list[tuple[int, int, int]]] = [[]]
    room = PASS_TOKENS
    for index, count in enumerate(counts):
        start = 0
        while start < count:
            if not room:
                passes.append([])
                room = PASS_TOKENS
            stop = min(count, start + room)
            passes[-1].append((index, start, stop))
            room -= stop - start
            start = stop
    return [part for part in passes if part]
