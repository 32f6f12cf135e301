# SPDX-License-Identifier: Apache-2.0
"""A decoder block by block, over whole texts: what looking at its layers needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from octavo import _checks
from octavo._types import Float32, Int64, Mask
from octavo.models.cached_attention import PassingKeyValues
from octavo.models.decoder_texts import DecoderTexts
from octavo.models.packing import checked_mask
from octavo.models.specs import Pair
from octavo.models.tokens import Tokens

if TYPE_CHECKING:
    from octavo import nn


class DecoderBlocks(DecoderTexts):
    """The blocks of a decoder under the names that an `Encoder` has for its own; see `Decoder`.

    Texts are whole, padding is left out, and attention is in float32.
    """

    model: Any
    lm_head: nn.Module | None

    @property
    def text_limit(self) -> int:
        """How many tokens of a text it reads."""
        return self.config.positions

    def checked(
        self,
        input_ids: npt.ArrayLike,
        attention_mask: npt.ArrayLike | None = None,
        token_type_ids: npt.ArrayLike | None = None,
    ) -> tuple[Int64, Mask | None, None]:
        """Return texts as `forward` takes them, or raise."""
        if token_type_ids is not None:
            raise ValueError(f"token_type_ids: a {self.config.model_type} model has no token types")
        ids = _checks.as_ids(input_ids, "input_ids", own=True)
        _checks.check_shape(ids, (None, None), "input_ids")
        if ids.shape[1] > self.config.positions:
            raise ValueError(
                f"input_ids: {ids.shape[1]} tokens, the model has {self.config.positions} positions"
            )
        self.check_ids(ids, "input_ids")
        mask = None if attention_mask is None else checked_mask(attention_mask, ids.shape)
        return ids, mask, None

    def embed(self, ids: Int64, types: Int64 | None = None) -> Float32:  # noqa: ARG002
        """Compute what goes into the first block, of padding too."""
        states: Float32 = self.model.embed(ids.reshape(-1))
        return states.reshape(*ids.shape, -1)

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """List the blocks by name; each is called with what the last one gave."""
        return [(f"model.layers.{index}", layer) for index, layer in enumerate(self.model.layers)]

    def block_inputs(self, hidden: Float32, mask: Mask | None) -> tuple[Any, ...]:
        """Return what a block is called with; `hidden` of `embed`, or rows that a block gave."""
        lengths = [len(hidden)] if mask is None else mask.sum(axis=1)
        rows = hidden if hidden.ndim == 2 else hidden[mask]
        config = self.config
        held = [PassingKeyValues(config.kv_heads, config.head_size) for _ in lengths]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.concatenate([np.arange(length) for length in lengths])
        return rows, Tokens(offsets, places, held)

    def finish(self, hidden: Float32) -> Float32:
        """Compute what the layer reads that gives the logits."""
        states: Float32 = self.model.norm(hidden)
        return states

    def heads(self) -> list[tuple[str, nn.Module]]:
        """List what is called with that, but a table of tokens."""
        return [] if self.lm_head is None else [("lm_head", self.lm_head)]

    def forward(self, ids: Int64, mask: Mask | None, types: Int64 | None = None) -> Float32:
        """Compute what `finish` gives, of the rows of tokens, (N, hidden_size)."""
        hidden = self.embed(ids, types)
        for _, block in self.blocks():
            hidden = block(*self.block_inputs(hidden, mask))
        return self.finish(hidden)

    def pairs(self) -> list[Pair]:
        """List layers between which a positive factor of a channel just passes.

        What a norm gives reaches the layers behind it and nothing else; values pass attention as
        means, to several heads of queries each; and what a gate is multiplied with is a factor of
        what the narrowing layer reads.
        """
        config = self.config
        ends = {"shared_by": config.heads // config.kv_heads, "head_size": config.head_size}
        value, start, wide, half = "v_proj", 0, "up_proj", 0
        asking: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
        widening: tuple[str, ...] = ("gate_proj", "up_proj")
        if config.joined:
            value, start = "qkv_proj", (config.heads + config.kv_heads) * config.head_size
            wide, half = "gate_up_proj", config.intermediate_size
            asking, widening = (value,), (wide,)
        before = "pre_feedforward_layernorm" if config.is_gemma else "post_attention_layernorm"
        found = []
        for name, _ in self.blocks():
            attention, mlp = f"{name}.self_attn", f"{name}.mlp"
            asked, widened = (
                tuple(f"{part}.{one}" for one in names)
                for part, names in ((attention, asking), (mlp, widening))
            )
            found += [
                Pair(f"{name}.input_layernorm", asked),
                Pair(f"{attention}.{value}", (f"{attention}.o_proj",), start, **ends),
                Pair(f"{name}.{before}", widened),
                Pair(f"{mlp}.{wide}", (f"{mlp}.down_proj",), half),
            ]
        return found
