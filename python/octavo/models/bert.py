# SPDX-License-Identifier: Apache-2.0
"""BERT (also TinyBERT, MiniLM): post-norm encoder with learned positions and token types."""

from __future__ import annotations

import numpy as np

from octavo import nn
from octavo._types import Float32, Int64, Mask
from octavo.models.build import LayerSource
from octavo.models.config import SEQUENCE, EncoderConfig
from octavo.models.encoder import Encoder
from octavo.models.heads import first_token
from octavo.models.packing import Packed
from octavo.models.self_attention import SelfAttention

__all__ = ["BertModel"]


def positions(ids: Int64, padding: int | None) -> Int64:
    """Return the row of each token in the table of positions: its place, or among tokens only."""
    if padding is None:
        return np.arange(ids.shape[1])
    is_token = ids != padding
    return np.cumsum(is_token, axis=1) * is_token + padding


class BertEmbeddings(nn.Module):
    """Word + position vectors, and those of token types if the model has them, normalised."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size = config.embedding_size
        self.padding = config.padding
        self.word_embeddings = source.embedding(f"{name}.word_embeddings", config.vocab_size, size)
        self.position_embeddings = source.embedding(
            f"{name}.position_embeddings", config.position_rows, size
        )
        if config.token_types:
            self.token_type_embeddings = source.embedding(
                f"{name}.token_type_embeddings", config.token_types, size
            )
        self.has_types = config.token_types > 0
        self.LayerNorm = source.layer_norm(f"{name}.LayerNorm", size, config.layer_norm_epsilon)

    def __call__(self, ids: Int64, types: Int64 | None) -> Float32:
        place = self.position_embeddings(positions(ids, self.padding))
        if self.has_types:
            none = np.zeros((1, 1), np.int64)
            place = place + self.token_type_embeddings(none if types is None else types)
        return self.LayerNorm(self.word_embeddings(ids) + place)


class BertSelfAttention(SelfAttention):
    """Multi-head attention without its output projection."""

    projections = ("query", "key", "value")

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size = config.hidden_size
        self.heads = config.heads
        self.query = source.linear(f"{name}.query", size, size)
        self.key = source.linear(f"{name}.key", size, size)
        self.value = source.linear(f"{name}.value", size, size)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None) -> Float32:
        return self.mixed(hidden, mask)


class BertOutput(nn.Module):
    """A projection, added to what went around it, normalised."""

    def __init__(self, name: str, inputs: int, config: EncoderConfig, source: LayerSource) -> None:
        size = config.hidden_size
        self.dense = source.linear(f"{name}.dense", size, inputs)
        self.LayerNorm = source.layer_norm(f"{name}.LayerNorm", size, config.layer_norm_epsilon)

    def __call__(self, hidden: Float32, residual: Float32) -> Float32:
        return self.LayerNorm(self.dense(hidden, residual))


class BertAttention(nn.Module):
    """Attention with its output projection."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.self = BertSelfAttention(f"{name}.self", config, source)
        self.output = BertOutput(f"{name}.output", config.hidden_size, config, source)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None) -> Float32:
        return self.output(self.self(hidden, mask), hidden)


class BertIntermediate(nn.Module):
    """The widening layer; its activation is part of the linear layer."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.dense = source.linear(
            f"{name}.dense", config.intermediate_size, config.hidden_size, config.activation
        )

    def __call__(self, hidden: Float32) -> Float32:
        return self.dense(hidden)


class BertLayer(nn.Module):
    """Attention, then the feed-forward pair."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.attention = BertAttention(f"{name}.attention", config, source)
        self.intermediate = BertIntermediate(f"{name}.intermediate", config, source)
        self.output = BertOutput(f"{name}.output", config.intermediate_size, config, source)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None) -> Float32:
        hidden = self.attention(hidden, mask)
        return self.output(self.intermediate(hidden), hidden)


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.layer = [
            BertLayer(f"{name}.layer.{index}", config, source) for index in range(config.layers)
        ]


class BertPooler(nn.Module):
    """The first token's state through a tanh layer: (batch, tokens, size) -> (batch, size)."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size = config.hidden_size
        self.dense = source.linear(f"{name}.dense", size, size, "tanh")

    def __call__(self, hidden: Float32) -> Float32:
        return self.dense(first_token(hidden))


class BertModel(Encoder):
    """BERT; `pooler` is None if the checkpoint has none (calling the model does not use it)."""

    architecture = "BertModel"
    attention_pair = ("attention.self.value", "attention.output.dense")

    def __init__(self, config: EncoderConfig, source: LayerSource) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings("embeddings", config, source)
        self.encoder = BertEncoder("encoder", config, source)
        has_pooler = source.has("pooler.dense")
        self.pooler = BertPooler("pooler", config, source) if has_pooler else None
        if has_pooler or self.head_activation or config.task != SEQUENCE:
            self._add_head(source)

    def pooled(self, hidden: Float32) -> Float32:
        """Compute what a sequence classifier reads: the pooler's output, or the first state."""
        if self.head_activation:
            return first_token(hidden)
        assert self.pooler is not None
        return self.pooler(hidden)
