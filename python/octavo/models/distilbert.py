# SPDX-License-Identifier: Apache-2.0
"""DistilBERT: BERT's layers under other names, without token types and pooler."""

from __future__ import annotations

from octavo import nn
from octavo._types import Float32, Mask
from octavo.models.bert import BertEmbeddings
from octavo.models.build import LayerSource
from octavo.models.config import SEQUENCE, EncoderConfig
from octavo.models.encoder import Encoder
from octavo.models.heads import first_token
from octavo.models.packing import Packed
from octavo.models.self_attention import SelfAttention

__all__ = ["DistilBertModel"]


class DistilBertAttention(SelfAttention):
    """Multi-head attention with its output projection."""

    projections = ("q_lin", "k_lin", "v_lin")

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size = config.hidden_size
        self.heads = config.heads
        self.q_lin = source.linear(f"{name}.q_lin", size, size)
        self.k_lin = source.linear(f"{name}.k_lin", size, size)
        self.v_lin = source.linear(f"{name}.v_lin", size, size)
        self.out_lin = source.linear(f"{name}.out_lin", size, size)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None) -> Float32:
        return self.out_lin(self.mixed(hidden, mask), hidden)


class DistilBertFeedForward(nn.Module):
    """The widening layer with its activation, and the narrowing one."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size, wide = config.hidden_size, config.intermediate_size
        self.lin1 = source.linear(f"{name}.lin1", wide, size, config.activation)
        self.lin2 = source.linear(f"{name}.lin2", size, wide)

    def __call__(self, hidden: Float32) -> Float32:
        return self.lin2(self.lin1(hidden), hidden)


class DistilBertLayer(nn.Module):
    """Attention and feed-forward, each added to its input and normalised."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size, epsilon = config.hidden_size, config.layer_norm_epsilon
        self.attention = DistilBertAttention(f"{name}.attention", config, source)
        self.sa_layer_norm = source.layer_norm(f"{name}.sa_layer_norm", size, epsilon)
        self.ffn = DistilBertFeedForward(f"{name}.ffn", config, source)
        self.output_layer_norm = source.layer_norm(f"{name}.output_layer_norm", size, epsilon)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None) -> Float32:
        hidden = self.sa_layer_norm(self.attention(hidden, mask))
        return self.output_layer_norm(self.ffn(hidden))


class DistilBertTransformer(nn.Module):
    """The stack of layers."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.layer = [
            DistilBertLayer(f"{name}.layer.{index}", config, source)
            for index in range(config.layers)
        ]


class DistilBertModel(Encoder):
    """DistilBERT."""

    architecture = "DistilBertModel"
    stack = "transformer"
    attention_pair = ("attention.v_lin", "attention.out_lin")
    feed_forward_pair = ("ffn.lin1", "ffn.lin2")

    def __init__(self, config: EncoderConfig, source: LayerSource) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings("embeddings", config, source)
        self.transformer = DistilBertTransformer("transformer", config, source)
        self.pre_classifier: nn.Module | None = None
        if config.task == SEQUENCE:
            size = config.hidden_size
            self.pre_classifier = source.linear("pre_classifier", size, size, "relu")
        self._add_head(source)

    def pooled(self, hidden: Float32) -> Float32:
        """Compute the first token's state through a layer with ReLU."""
        assert self.pre_classifier is not None
        return self.pre_classifier(first_token(hidden))
