# SPDX-License-Identifier: Apache-2.0
"""ModernBERT: norms before the layers, rotary positions, gates, and mostly local attention."""

from __future__ import annotations

from typing import Any

from octavo import nn
from octavo._types import Float32, Int64, Mask
from octavo.functional import gated
from octavo.models.build import LayerSource
from octavo.models.config import SEQUENCE, EncoderConfig
from octavo.models.encoder import Encoder
from octavo.models.heads import first_token
from octavo.models.local_attention import rotary_attention, rotary_attention_int8
from octavo.models.modernbert_config import ModernBertChoices
from octavo.models.packing import Packed, is_prefix
from octavo.models.pooling import pool
from octavo.models.self_attention import SelfAttention
from octavo.models.specs import Pair

__all__ = ["ModernBertModel"]


def _choices(config: EncoderConfig) -> ModernBertChoices:
    assert config.modernbert is not None
    return config.modernbert


def _norm(name: str, config: EncoderConfig, source: LayerSource) -> Any:
    has_bias = _choices(config).norm_bias
    return source.layer_norm(name, config.hidden_size, config.layer_norm_epsilon, has_bias=has_bias)


class ModernBertEmbeddings(nn.Module):
    """Vectors of tokens, normalised."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        self.tok_embeddings = source.embedding(
            f"{name}.tok_embeddings", config.vocab_size, config.hidden_size
        )
        self.norm = _norm(f"{name}.norm", config, source)

    def __call__(self, ids: Int64, types: Int64 | None) -> Float32:  # noqa: ARG002
        return self.norm(self.tok_embeddings(ids))


class ModernBertAttention(SelfAttention):
    """Multi-head attention of one projection, added to what went around it."""

    projections = ("Wqkv",)

    def __init__(self, name: str, index: int, config: EncoderConfig, source: LayerSource) -> None:
        size, choices = config.hidden_size, _choices(config)
        self.heads = config.heads
        self.theta, self.reach = choices.theta(index), choices.reach(index)
        has_bias = choices.attention_bias
        self.Wqkv = source.linear(f"{name}.Wqkv", 3 * size, size, has_bias=has_bias)
        self.Wo = source.linear(f"{name}.Wo", size, size, has_bias=has_bias)

    def __call__(self, hidden: Float32, residual: Float32, mask: Mask | Packed | None) -> Float32:
        attention = rotary_attention_int8 if self.in_int8 else rotary_attention
        mixed = attention(self.Wqkv(hidden), mask, self.heads, self.theta, self.reach)
        return self.Wo(mixed, residual)


class ModernBertMLP(nn.Module):
    """The widening layer, half of which gates the other, and the narrowing one."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size, wide = config.hidden_size, config.intermediate_size
        self.activation = config.activation
        has_bias = _choices(config).mlp_bias
        self.Wi = source.linear(f"{name}.Wi", 2 * wide, size, has_bias=has_bias)
        self.Wo = source.linear(f"{name}.Wo", size, wide, has_bias=has_bias)

    def __call__(self, hidden: Float32, residual: Float32) -> Float32:
        wide = self.Wi(hidden)
        half = wide.shape[-1] // 2
        return self.Wo(gated(wide[..., :half], wide[..., half:], self.activation), residual)


class ModernBertLayer(nn.Module):
    """Attention, then the feed-forward pair, each reading normalised states and adding to them."""

    def __init__(self, name: str, index: int, config: EncoderConfig, source: LayerSource) -> None:
        # The embeddings are normalised already.
        self.attn_norm = _norm(f"{name}.attn_norm", config, source) if index else None
        self.attn = ModernBertAttention(f"{name}.attn", index, config, source)
        self.mlp_norm = _norm(f"{name}.mlp_norm", config, source)
        self.mlp = ModernBertMLP(f"{name}.mlp", config, source)

    def __call__(self, hidden: Float32, mask: Mask | Packed | None) -> Float32:
        normed = hidden if self.attn_norm is None else self.attn_norm(hidden)
        hidden = self.attn(normed, hidden, mask)
        return self.mlp(self.mlp_norm(hidden), hidden)


class ModernBertHead(nn.Module):
    """A layer with its activation, normalised: what the classifier reads."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource) -> None:
        size, choices = config.hidden_size, _choices(config)
        self.dense = source.linear(
            f"{name}.dense",
            size,
            size,
            choices.classifier_activation,
            has_bias=choices.classifier_bias,
        )
        self.norm = _norm(f"{name}.norm", config, source)

    def __call__(self, states: Float32) -> Float32:
        return self.norm(self.dense(states))


class ModernBertModel(Encoder):
    """ModernBERT; `head` is None if the checkpoint has none (calling the model does not use it)."""

    architecture = "ModernBertModel"
    anchor = "embeddings.tok_embeddings.weight"
    output_of_task = dict.fromkeys(Encoder.output_of_task, "classifier")

    def __init__(self, config: EncoderConfig, source: LayerSource) -> None:
        super().__init__(config)
        self.embeddings = ModernBertEmbeddings("embeddings", config, source)
        self.layers = [
            ModernBertLayer(f"layers.{index}", index, config, source)
            for index in range(config.layers)
        ]
        self.final_norm = _norm("final_norm", config, source)
        has_head = bool(config.task) or source.has("head.dense")
        self.head = ModernBertHead("head", config, source) if has_head else None
        self._add_head(source)

    @classmethod
    def prefixes(cls) -> tuple[str, ...]:
        """Beginnings of the names of the encoder's tensors."""
        return ("embeddings.", "layers.", "final_norm.")

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """List the blocks by name."""
        return [(f"layers.{index}", layer) for index, layer in enumerate(self.layers)]

    def heads(self) -> list[tuple[str, nn.Module]]:
        """List what is called with the last hidden state, and by nothing else."""
        return [] if self.head is None or self.task else [("head", self.head)]

    def missing_for_head(self, task: str) -> str:  # noqa: ARG002
        """Name the part that a new classifier would read and the model lacks, if any."""
        return "head" if self.head is None else ""

    def can_pack(self, mask: Mask) -> bool:
        """Whether no padding lies between tokens: positions count."""
        return is_prefix(mask)

    def finish(self, hidden: Float32) -> Float32:
        """Compute the last hidden state of what the last block gives."""
        return self.final_norm(hidden)

    def pairs(self) -> list[Pair]:
        """List pairs of layers between which a factor of a channel just passes.

        Values pass attention as means, and gates are factors of what the narrowing layer reads,
        whatever the activation of the other half. What a norm gives reaches the layer behind it and
        nothing else, since the states go around both; but the first block's attention reads the
        states themselves.
        """
        size, wide = self.config.hidden_size, self.config.intermediate_size
        found = []
        for name, block in self.blocks():
            if getattr(block, "attn_norm", None) is not None:
                found.append(Pair(f"{name}.attn_norm", (f"{name}.attn.Wqkv",)))
            found.append(Pair(f"{name}.attn.Wqkv", (f"{name}.attn.Wo",), 2 * size))
            found.append(Pair(f"{name}.mlp_norm", (f"{name}.mlp.Wi",)))
            found.append(Pair(f"{name}.mlp.Wi", (f"{name}.mlp.Wo",), wide))
        return found

    def bias_switch(self, name: str) -> str | None:
        """Return the key of config.json that says whether a layer has a bias."""
        if name == "head.dense":
            return "classifier_bias"
        if name.rpartition(".")[2].endswith("norm"):
            return "norm_bias"
        if name.endswith("embeddings") or name == "classifier":
            return None
        return "attention_bias" if ".attn." in name else "mlp_bias"

    def read_by_head(self, hidden: Float32, mask: Mask | None) -> Float32:
        """Compute what the classifier reads: of pooled states, or of all."""
        assert self.head is not None
        if self.task == SEQUENCE:
            if _choices(self.config).classifier_pooling == "mean":
                hidden = pool(hidden, mask, ["mean"])
            else:
                hidden = first_token(hidden)
        return self.head(hidden)
