# SPDX-License-Identifier: Apache-2.0
"""MPNet: BERT's layers under other names, and a bias for how far apart two tokens are."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo import nn
from octavo._types import Float32, Int64, Mask
from octavo.models.bert import BertEmbeddings, BertIntermediate, BertOutput, BertPooler
from octavo.models.build import LayerSource
from octavo.models.config import EncoderConfig
from octavo.models.encoder import Encoder
from octavo.models.heads import first_token
from octavo.models.packing import Packed, is_prefix
from octavo.models.self_attention import SelfAttention

__all__ = ["MPNetModel"]

# Distances: a bucket for each below 8, then eight that widen by the square root of 2; as many
# again for tokens that follow.
_BUCKETS = 32
_EXACT = 8


class MPNetSelfAttention(SelfAttention):
    """Multi-head attention with its output projection."""

    projections = ("q", "k", "v")

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size = config.hidden_size
        self.heads = config.heads
        self.q = source.linear(f"{name}.q", size, size)
        self.k = source.linear(f"{name}.k", size, size)
        self.v = source.linear(f"{name}.v", size, size)
        self.o = source.linear(f"{name}.o", size, size)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None, bias: Float32) -> Float32:
        return self.o(self.mixed(hidden, mask, bias), hidden)


class MPNetAttention(nn.Module):
    """Attention, added to its input and normalised."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.attn = MPNetSelfAttention(f"{name}.attn", config, source)
        self.LayerNorm = source.layer_norm(
            f"{name}.LayerNorm", config.hidden_size, config.layer_norm_epsilon
        )

    def __call__(self, hidden: Float32, mask: Mask | Packed | None, bias: Float32) -> Float32:
        return self.LayerNorm(self.attn(hidden, mask, bias))


class MPNetLayer(nn.Module):
    """Attention, then the feed-forward pair."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.attention = MPNetAttention(f"{name}.attention", config, source)
        self.intermediate = BertIntermediate(f"{name}.intermediate", config, source)
        self.output = BertOutput(f"{name}.output", config.intermediate_size, config, source)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None, bias: Float32) -> Float32:
        hidden = self.attention(hidden, mask, bias)
        return self.output(self.intermediate(hidden), hidden)


class MPNetEncoder(nn.Module):
    """The stack of layers, and the bias that all of them add to their scores."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.layer = [
            MPNetLayer(f"{name}.layer.{index}", config, source) for index in range(config.layers)
        ]
        self.relative_attention_bias = source.embedding(
            f"{name}.relative_attention_bias", _BUCKETS, config.heads
        )

    def bias(self, tokens: int) -> Float32:
        """Return what is added to the scores, (heads, tokens, tokens)."""
        # The same for all pairs of a distance: -(tokens - 1), ..., tokens - 1.
        values = self.relative_attention_bias(_buckets(np.arange(1 - tokens, tokens))).T
        view = np.lib.stride_tricks.sliding_window_view(values, tokens, axis=1)
        return np.ascontiguousarray(view[:, ::-1])


def _buckets(distance: Int64) -> Int64:
    """Return the row of each distance, key minus query, in the table of biases."""
    half = _BUCKETS // 2
    far = np.abs(distance)
    # Bucket 8 + i begins at 8 * sqrt(2)**i, squared to stay in integers.
    wide = sum((far * far >= _EXACT**2 << i).astype(np.int64) for i in range(1, half - _EXACT))
    return np.where(far < _EXACT, far, _EXACT + wide) + half * (distance > 0)


class MPNetModel(Encoder):
    """MPNet; `pooler` is None if the checkpoint has none (calling the model does not use it)."""

    architecture = "MPNetModel"
    attention_pair = ("attention.attn.v", "attention.attn.o")
    head_activation = "tanh"

    def __init__(self, config: EncoderConfig, source: LayerSource) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings("embeddings", config, source)
        self.encoder = MPNetEncoder("encoder", config, source)
        has_pooler = source.has("pooler.dense")
        self.pooler = BertPooler("pooler", config, source) if has_pooler else None
        self._add_head(source)

    def pooled(self, hidden: Float32) -> Float32:
        """Compute what a sequence classifier reads: the first state."""
        return first_token(hidden)

    def can_pack(self, mask: Mask) -> bool:
        """Whether no padding lies between tokens: their distance counts."""
        return is_prefix(mask)

    def block_options(self, tokens: int) -> tuple[Any, ...]:
        """Return the bias, which is the same for every block."""
        return (self.encoder.bias(tokens),)
