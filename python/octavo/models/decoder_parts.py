# SPDX-License-Identifier: Apache-2.0
"""What a decoder of the LLaMA family is made of, under the names of transformers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from octavo import nn
from octavo._types import Float32, Int64
from octavo.models.build import LayerSource
from octavo.models.decoder_config import DecoderConfig
from octavo.models.tokens import Tokens
from octavo.nn.traced import Traced, gated


class DecoderSource(LayerSource, Protocol):
    """What a decoder's constructor asks for its layers."""

    def rms_norm(self, name: str, size: int, epsilon: float, offset: float = 0.0) -> Any:
        """Return a norm by the root mean square, whose weight is what a file has and `offset`."""


def _norm(name: str, size: int, config: DecoderConfig, source: DecoderSource) -> Any:
    return source.rms_norm(name, size, config.epsilon, 1.0 if config.is_gemma else 0.0)


class DecoderAttention(nn.Module):
    """Causal attention with rotary positions; heads of keys and values serve several of queries."""

    def __init__(self, name: str, index: int, config: DecoderConfig, source: DecoderSource) -> None:
        self.index, self.window = index, config.windows[index]
        self.heads, self.kv_heads, self.head_size = config.heads, config.kv_heads, config.head_size
        self.rope, self.scale = config.ropes[index], config.attention_scale
        self.is_joined, self.has_norms = config.joined, config.qk_norm
        size, inner = config.hidden_size, config.heads * config.head_size
        outer, has_bias = config.kv_heads * config.head_size, config.qkv_bias
        if self.is_joined:
            self.qkv_proj = source.linear(
                f"{name}.qkv_proj", inner + 2 * outer, size, has_bias=has_bias
            )
        else:
            self.q_proj = source.linear(f"{name}.q_proj", inner, size, has_bias=has_bias)
            self.k_proj = source.linear(f"{name}.k_proj", outer, size, has_bias=has_bias)
            self.v_proj = source.linear(f"{name}.v_proj", outer, size, has_bias=has_bias)
        self.o_proj = source.linear(f"{name}.o_proj", size, inner, has_bias=config.output_bias)
        if self.has_norms:
            self.q_norm = _norm(f"{name}.q_norm", config.head_size, config, source)
            self.k_norm = _norm(f"{name}.k_norm", config.head_size, config, source)

    def __call__(self, states: Float32, residual: Float32 | None, tokens: Tokens) -> Float32:
        """Compute the part's result for normalised states, and add what went around it."""
        query, key, value = self._projected(states)
        if self.has_norms:
            query, key = self._normalised(query, self.q_norm), self._normalised(key, self.k_norm)
        query = tokens.turned(query, self.rope, self.heads)
        key = tokens.turned(key, self.rope, self.kv_heads)
        options = (self.index, self.heads, self.window, self.scale)
        mixed = tokens.attend(query, key, value, *options)
        return self.o_proj(mixed, residual)

    def _projected(self, states: Float32) -> tuple[Float32, Float32, Float32]:
        if not self.is_joined:
            return self.q_proj(states), self.k_proj(states), self.v_proj(states)
        joined = self.qkv_proj(states)
        keys = self.heads * self.head_size
        values = keys + self.kv_heads * self.head_size
        return joined[..., :keys], joined[..., keys:values], joined[..., values:]

    def _normalised(self, rows: Float32, norm: nn.Module) -> Float32:
        if isinstance(rows, Traced):
            return norm(rows)
        heads: Float32 = norm(rows.reshape(len(rows), -1, self.head_size))
        return heads.reshape(rows.shape)


class DecoderMLP(nn.Module):
    """Two widening layers, one of which gates the other, and the narrowing one."""

    def __init__(self, name: str, config: DecoderConfig, source: DecoderSource) -> None:
        size, wide, has_bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.activation, self.is_joined, self.wide = config.activation, config.joined, wide
        if self.is_joined:
            self.gate_up_proj = source.linear(
                f"{name}.gate_up_proj", 2 * wide, size, has_bias=has_bias
            )
        else:
            self.gate_proj = source.linear(f"{name}.gate_proj", wide, size, has_bias=has_bias)
            self.up_proj = source.linear(f"{name}.up_proj", wide, size, has_bias=has_bias)
        self.down_proj = source.linear(f"{name}.down_proj", size, wide, has_bias=has_bias)

    def __call__(self, states: Float32, residual: Float32 | None) -> Float32:
        """Compute the part's result for normalised states, and add what went around it."""
        if self.is_joined:
            joined = self.gate_up_proj(states)
            gate, wide = joined[..., : self.wide], joined[..., self.wide :]
        else:
            gate, wide = self.gate_proj(states), self.up_proj(states)
        return self.down_proj(gated(gate, wide, self.activation), residual)


class DecoderLayer(nn.Module):
    """Attention, then the feed-forward part, each reading normalised states and adding to them."""

    def __init__(self, name: str, index: int, config: DecoderConfig, source: DecoderSource) -> None:
        size = config.hidden_size
        self.input_layernorm = _norm(f"{name}.input_layernorm", size, config, source)
        self.self_attn = DecoderAttention(f"{name}.self_attn", index, config, source)
        self.post_attention_layernorm = _norm(
            f"{name}.post_attention_layernorm", size, config, source
        )
        self.mlp = DecoderMLP(f"{name}.mlp", config, source)

    def __call__(self, states: Float32, tokens: Tokens) -> Float32:
        """Compute the states behind the layer."""
        states = self.self_attn(self.input_layernorm(states), states, tokens)
        return self.mlp(self.post_attention_layernorm(states), states)


class GemmaLayer(DecoderLayer):
    """The same with norms before and behind both parts."""

    def __init__(self, name: str, index: int, config: DecoderConfig, source: DecoderSource) -> None:
        super().__init__(name, index, config, source)
        size = config.hidden_size
        before, behind = (f"{name}.{place}_feedforward_layernorm" for place in ("pre", "post"))
        self.pre_feedforward_layernorm = _norm(before, size, config, source)
        self.post_feedforward_layernorm = _norm(behind, size, config, source)

    def __call__(self, states: Float32, tokens: Tokens) -> Float32:
        """Compute the states behind the layer."""
        mixed = self.self_attn(self.input_layernorm(states), None, tokens)
        states = self.post_attention_layernorm(mixed, states)
        mixed = self.mlp(self.pre_feedforward_layernorm(states), None)
        return self.post_feedforward_layernorm(mixed, states)


class DecoderStack(nn.Module):
    """The table of tokens, the layers, and the norm behind them."""

    def __init__(self, name: str, config: DecoderConfig, source: DecoderSource) -> None:
        self.embed_tokens = source.embedding(
            f"{name}.embed_tokens", config.vocab_size, config.hidden_size
        )
        self.scale = np.sqrt(np.float32(config.hidden_size)) if config.is_gemma else None
        layer = GemmaLayer if config.is_gemma else DecoderLayer
        self.layers = [
            layer(f"{name}.layers.{index}", index, config, source) for index in range(config.layers)
        ]
        self.norm = _norm(f"{name}.norm", config.hidden_size, config, source)

    def embed(self, ids: Int64) -> Float32:
        """Compute the states that the first layer reads."""
        states: Float32 = self.embed_tokens(ids)
        if self.scale is not None:
            states *= self.scale
        return states
