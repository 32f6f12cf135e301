# SPDX-License-Identifier: Apache-2.0
"""Small random decoders as GGUF files, converted as llama.cpp does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import decoder_files
import octavo
from gguf_files import Stored, float_tensor, gguf_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
    "qkv_proj": "attn_qkv",
    "gate_up_proj": "ffn_up",
}
# Mistral's files have the other's name, and its order of rows.
KINDS = {"gemma3_text": "gemma3", "mistral": "llama"}
GEMMA_NAMES = {
    **NAMES,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def keys(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    kind = KINDS.get(config["model_type"], config["model_type"])
    rope = config["rope_parameters"] or config
    own = {
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "context_length": config["max_position_embeddings"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "block_count": config["num_hidden_layers"],
        "attention.layer_norm_rms_epsilon": float(np.float32(config["rms_norm_eps"])),
        "rope.freq_base": rope["rope_theta"],
        "rope.scaling.original_context_length": rope.get("original_max_position_embeddings"),
        "rope.scaling.attn_factor": rope.get("attention_factor"),
    }
    if "sliding_window" in config:
        own["attention.sliding_window"] = config["sliding_window"]
    if "head_dim" in config:
        own["attention.key_length"] = config["head_dim"]
    tokens = [f"t{index}" for index in range(config["vocab_size"])]
    given = {
        "general.architecture": kind,
        **{f"{kind}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.eos_token_id": 2,
        **changes,
    }
    if "partial_rotary_factor" in rope:
        width = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
        given[f"{kind}.rope.dimension_count"] = int(width * rope["partial_rotary_factor"])
    return {key: value for key, value in given.items() if value is not None}


def turned(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of halves of heads as pairs."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_adapter(file: Path, config: dict[str, Any], source: Any, **changes: Any) -> Path:
    """Write an adapter beside a model of a config."""
    kind = KINDS.get(config["model_type"], config["model_type"])
    given = {"general.type": "adapter", "general.architecture": kind, "adapter.type": "lora"}
    given |= {"adapter.lora.alpha": float(source.config["lora_alpha"]), **changes}
    tensors = []
    for name, side in source.layers.items():
        parts, b = name.split("."), side.b
        if kind == "llama" and parts[-1] in ("q_proj", "k_proj"):
            heads = "num_attention_heads" if parts[-1] == "q_proj" else "num_key_value_heads"
            b = turned(b, config[heads])
        block = f"blk.{parts[2]}." if parts[1] == "layers" else ""
        for part, values in (("lora_a", side.a), ("lora_b", b)):
            tensors.append(float_tensor(f"{block}{NAMES[parts[-1]]}.weight.{part}", values))
    kept = {key: value for key, value in given.items() if value is not None}
    file.write_bytes(gguf_bytes(kept, tuple(tensors)))
    return file


def write(
    file: Path,
    config: dict[str, Any],
    stored: Callable[[str, np.ndarray], Stored] = float_tensor,
    **changes: Any,
) -> Path:
    """Write a model of a config; `stored` makes the tensors of its matrices."""
    tensors = []
    for name, values in decoder_files.random_tensors(config).items():
        parts = name.split(".")
        if config["model_type"] in ("llama", "mistral") and parts[-2] in ("q_proj", "k_proj"):
            heads = "num_attention_heads" if parts[-2] == "q_proj" else "num_key_value_heads"
            values = turned(values, config[heads])
        block = f"blk.{parts[2]}." if parts[1] == "layers" else ""
        if config["model_type"] == "gemma3_text" and values.ndim == 1:
            values = values + 1
        names = GEMMA_NAMES if config["model_type"] == "gemma3_text" else NAMES
        make = stored if values.ndim == 2 else float_tensor
        tensors.append(make(f"{block}{names[parts[-2]]}.{parts[-1]}", values))
    if (config["rope_parameters"] or {}).get("rope_type") == "llama3":
        slow, plain = (
            np.array(octavo.models.rope.read_rope({**config, "rope_parameters": given}, 8)[0])
            for given in (config["rope_parameters"], {"rope_theta": 1000.0})
        )
        tensors.append(float_tensor("rope_freqs.weight", plain / slow))
    for length in ("long", "short"):
        if f"{length}_factor" in (config["rope_parameters"] or {}):
            factors = np.array(config["rope_parameters"][f"{length}_factor"], np.float32)
            tensors.append(float_tensor(f"rope_factors_{length}.weight", factors))
    file.write_bytes(gguf_bytes(keys(config, **changes), tuple(tensors)))
    return file
