# SPDX-License-Identifier: Apache-2.0
"""What every encoder has in common: checked calls, sentence vectors, saving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo._checks import as_ids, check_shape, choice
from octavo._types import Float32, Int64, Mask
from octavo.io.segment import Segment
from octavo.models.config import EncoderConfig
from octavo.models.fused import Fused, fused
from octavo.models.packing import Packed, checked_mask, packed, slices
from octavo.models.self_attention import ATTENTION_PRECISIONS, SelfAttention
from octavo.models.sentence import SentenceModules, read_modules
from octavo.models.specs import Pair
from octavo.models.text_vectors import TextVectors


class Encoder(TextVectors):
    """A BERT-family encoder: token ids in, hidden states out.

    The layers are attributes under the names of the checkpoint, so a layer is swapped by assigning
    another: ``model.encoder.layer[0].intermediate.dense = other``.

    Attributes
    ----------
    architecture : str
        The class's name in transformers.
    config : EncoderConfig
        Sizes and choices.
    source : pathlib.Path or None
        The folder the model was loaded from.
    files : dict of str to bytes
        The tokenizer's files, and those of a sentence model's modules, as they were then, by their
        names in the folder: they are used and saved, whatever the folder holds by now.
    segment : octavo.io.segment.Segment or None
        The memory with weights that other processes share, see `octavo.models.load`.
    recipe : dict or None
        What `octavo.compress` did to make this model; see `octavo.compression.Recipe`.
    classifier : Module or None
        The layer that gives the logits of a classifier of sequences or tokens.
    qa_outputs : Module or None
        The same of a model that answers questions.
    """

    # A tensor that every checkpoint has; where an architecture keeps its blocks, and the names in a
    # block of what `pairs` lists.
    anchor = "embeddings.word_embeddings.weight"
    stack = "encoder"
    attention_pair: tuple[str, str]
    feed_forward_pair = ("intermediate.dense", "output.dense")

    pooler: nn.Module | None = None

    embeddings: nn.Module

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.source: Path | None = None
        self.files: dict[str, bytes] = {}
        self.recipe: dict[str, Any] | None = None
        self.segment: Segment | None = None
        self._sentence: SentenceModules | None = None

    def __call__(
        self,
        input_ids: npt.ArrayLike,
        attention_mask: npt.ArrayLike | None = None,
        token_type_ids: npt.ArrayLike | None = None,
    ) -> Float32:
        """Compute the last hidden state.

        Parameters
        ----------
        input_ids : array_like of int, shape (batch, tokens)
            Token ids.
        attention_mask : array_like of bool or 0/1, shape (batch, tokens), optional
            True where there is a token, False where there is padding. Default: all tokens.
        token_type_ids : array_like of int, shape (batch, tokens), optional
            Segment of each token, for models that have them. Default: all 0.

        Returns
        -------
        numpy.ndarray of float32, shape (batch, tokens, hidden_size)
            Zeros where there is padding.

        Notes
        -----
        Blocks get the tokens of some rows side by side, (1, N, hidden_size), and a `Packed` in the
        mask's place (`octavo.models.packing`), several times for a large batch. Where padding lies
        between tokens and positions count, they get rows as they are, and the mask.
        """
        ids, mask, types = self.checked(input_ids, attention_mask, token_type_ids)
        if mask is not None and mask.all():
            mask = None
        together = self._fused().tokens
        if mask is None and 0 < ids.size <= together:
            return self.forward(ids, None, types)
        lengths = np.full(len(ids), ids.shape[1]) if mask is None else mask.sum(axis=1)
        out = np.zeros((*ids.shape, self.config.hidden_size), np.float32)
        for rows in slices(lengths, together) if ids.size else ():
            segments = None if types is None else types[rows]
            if mask is None:
                out[rows] = self.forward(ids[rows], None, segments)
            else:
                self._put_tokens(ids[rows], mask[rows], segments, out[rows])
        return out

    def _put_tokens(self, ids: Int64, mask: Mask, types: Int64 | None, out: Float32) -> None:
        """Compute the states of a slice's tokens, packed if its mask allows that."""
        if not mask.any():
            return
        if not self.can_pack(mask):
            out[mask] = self.forward(ids, mask, types)[mask]
            return
        hidden, sequences = self.embed(ids, types)[mask][None], packed(mask.sum(axis=1))
        out[mask] = self._through_blocks(hidden, sequences, sequences.longest)[0]

    def can_pack(self, mask: Mask) -> bool:  # noqa: ARG002
        """Whether blocks can be called with what is left of rows without their padding."""
        return True

    def checked(
        self,
        input_ids: npt.ArrayLike,
        attention_mask: npt.ArrayLike | None = None,
        token_type_ids: npt.ArrayLike | None = None,
    ) -> tuple[Int64, Mask | None, Int64 | None]:
        """Return the arguments of a call as `forward` takes them, or raise."""
        ids = self._ids("input_ids", input_ids, self.config.vocab_size, None)
        if ids.shape[1] > self.config.positions:
            raise ValueError(
                f"input_ids: {ids.shape[1]} tokens, the model has {self.config.positions} positions"
            )
        mask = None if attention_mask is None else checked_mask(attention_mask, ids.shape)
        types: Int64 | None = None
        if token_type_ids is not None:
            if self.config.token_types == 0:
                raise ValueError(
                    f"token_type_ids: a {self.config.model_type} model has no token types"
                )
            types = self._ids("token_type_ids", token_type_ids, self.config.token_types, ids.shape)
        return ids, mask, types

    @property
    def attention_precision(self) -> str:
        """How attention is computed: "int8", "float32", or "auto".

        "auto" is int8 where the layers that make queries, keys and values are; a model keeps
        another choice when it is saved. "mixed" where blocks have been told different things,
        which cannot be saved.
        """
        found = {module.precision for module in self._attentions()}
        return "mixed" if len(found) > 1 else found.pop()

    @attention_precision.setter
    def attention_precision(self, value: str) -> None:
        choice(value, "attention_precision", ATTENTION_PRECISIONS)
        for module in self._attentions():
            module.precision = value

    def _attentions(self) -> list[SelfAttention]:
        return [part for _, part in self.named_modules() if isinstance(part, SelfAttention)]

    @property
    def side_files(self) -> list[str]:
        """Names of `files`."""
        return list(self.files)

    def forward(self, ids: Int64, mask: Mask | None, types: Int64 | None) -> Float32:
        """Compute the last hidden state of checked, non-empty arguments, of padding too."""
        return self._through_blocks(self.embed(ids, types), mask, ids.shape[1])

    def _through_blocks(self, hidden: Float32, mask: Mask | Packed | None, tokens: int) -> Float32:
        options = self.block_options(tokens)
        for part in self._fused().parts:
            hidden = part(hidden, mask, *options)
        return self.finish(hidden)

    def prepare(self) -> None:
        """Fuse the blocks for this CPU, which the first call does otherwise.

        Neighbouring blocks of int8 or float32 layers then run as one native call, with the same
        bits.  A block with a layer of another kind or of somebody else, or one that is watched
        (`octavo.nn.hooks`), runs as it is; after a layer was replaced, the next call fuses anew.
        Weights are not copied; between the layers of a call lie about 3 MB a thread for a model
        384 wide, which go back to the memory kept for results (`octavo.runtime.set_result_cache`).
        """
        self._fused()

    def _fused(self) -> Fused:
        blocks, key = [block for _, block in self.blocks()], self.adapter_key
        return fused(self, blocks, self.config.hidden_size, self.block_options, key)

    def embed(self, ids: Int64, types: Int64 | None) -> Float32:
        """Compute what goes into the first block."""
        return self.embeddings(ids, types)

    def finish(self, hidden: Float32) -> Float32:
        """Compute the last hidden state of what the last block gives."""
        return hidden

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """List the blocks by name; each is called with what the last one gave.

        `forward` calls them with `block_inputs`, a call of the model with packed rows.
        """
        layers = getattr(self, self.stack).layer
        return [(f"{self.stack}.layer.{index}", layer) for index, layer in enumerate(layers)]

    def block_inputs(self, hidden: Float32, mask: Mask | None) -> tuple[Any, ...]:
        """Return what a block is called with."""
        return (hidden, mask, *self.block_options(hidden.shape[1]))

    def block_options(self, tokens: int) -> tuple[Any, ...]:  # noqa: ARG002
        """Return what every block is called with besides, for rows of so many tokens."""
        return ()

    def heads(self) -> list[tuple[str, nn.Module]]:
        """List what is called with the last hidden state, and is no part of `forward`."""
        return [] if self.pooler is None else [("pooler", self.pooler)]

    def pairs(self) -> list[Pair]:
        """List pairs of layers between which a positive factor of a channel just passes."""
        inside = [self.attention_pair]
        if self.config.activation == "relu":
            inside.append(self.feed_forward_pair)
        return [
            Pair(f"{name}.{first}", (f"{name}.{second}",))
            for name, _ in self.blocks()
            for first, second in inside
        ]

    def bias_switch(self, name: str) -> str | None:  # noqa: ARG002
        """Return the key of config.json that says whether a layer has a bias; None: all have."""
        return None

    @property
    def sentence(self) -> SentenceModules:
        """What makes a sentence vector of hidden states, as the model's folder says."""
        if self._sentence is None:
            self._sentence = read_modules(self.files, self.config.hidden_size)
        return self._sentence

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a Hugging Face folder, whole or not at all.

        Int8 layers are stored in the compressed-tensors convention (int8 ``weight``, float32
        ``weight_scale``), float layers as float32; the tokenizer's files that were loaded with the
        model are written again. The same model gives the same bytes on every machine. The weight of
        a `SparseLinear` is stored as a bitmap and its non-zero codes (`octavo.io.bitmap`) if that
        is smaller; loading chooses its format anew.

        Parameters
        ----------
        folder : str or os.PathLike
            A new folder, an empty one, or one with a saved model, which is replaced.

        Raises
        ------
        FileExistsError
            If `folder` holds anything but a saved model.
        """
        from octavo.models.save import save_model

        save_model(self, folder)

    @classmethod
    def prefixes(cls) -> tuple[str, ...]:
        """Beginnings of the names of all tensors that belong to the encoder proper."""
        return ("embeddings.", f"{cls.stack}.")

    def _ids(
        self, name: str, values: npt.ArrayLike, limit: int, shape: tuple[int, ...] | None
    ) -> Int64:
        ids: Int64 = as_ids(values, name, own=True)
        check_shape(ids, (None, None) if shape is None else shape, name)
        if ids.size:
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= limit:
                bad = low if low < 0 else high
                raise ValueError(f"{name}: expected values in [0, {limit - 1}], got {bad}")
        return ids
