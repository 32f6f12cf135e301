# SPDX-License-Identifier: Apache-2.0
"""Small random decoders, written as transformers writes them but without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

import octavo

if TYPE_CHECKING:
    from pathlib import Path

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}


def random_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """All tensors of a model of type gemma3_text, llama, mistral, qwen2 or qwen3."""
    rng = np.random.default_rng(seed)
    size, wide, heads = (
        config[f"{key}"] for key in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    width = config.get("head_dim", size // heads)
    outer = config["num_key_value_heads"] * width
    tensors: dict[str, np.ndarray] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        weight = 2 * rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        tensors[f"{name}.weight"] = weight.astype(np.float32)
        if config["model_type"] == "qwen2" and name[-6:] in ("q_proj", "k_proj", "v_proj"):
            tensors[f"{name}.bias"] = rng.standard_normal(outputs).astype(np.float32)

    def norm(name: str, width: int) -> None:
        weight = 1 + 0.1 * rng.standard_normal(width)
        tensors[f"{name}.weight"] = weight.astype(np.float32)

    linear("model.embed_tokens", config["vocab_size"], size)
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        linear(f"{layer}.self_attn.q_proj", heads * width, size)
        linear(f"{layer}.self_attn.k_proj", outer, size)
        linear(f"{layer}.self_attn.v_proj", outer, size)
        linear(f"{layer}.self_attn.o_proj", size, heads * width)
        linear(f"{layer}.mlp.gate_proj", wide, size)
        linear(f"{layer}.mlp.up_proj", wide, size)
        linear(f"{layer}.mlp.down_proj", size, wide)
        norm(f"{layer}.input_layernorm", size)
        norm(f"{layer}.post_attention_layernorm", size)
        if config["model_type"] in ("gemma3_text", "qwen3"):
            norm(f"{layer}.self_attn.q_norm", width)
            norm(f"{layer}.self_attn.k_norm", width)
        if config["model_type"] == "gemma3_text":
            norm(f"{layer}.pre_feedforward_layernorm", size)
            norm(f"{layer}.post_feedforward_layernorm", size)
    norm("model.norm", size)
    if not config["tie_word_embeddings"]:
        linear("lm_head", config["vocab_size"], size)
    return tensors


def write_random(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a model folder with a config that differs in some fields."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**LLAMA, **changes}
    safetensors.numpy.save_file(random_tensors(config, seed), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def loaded(folder: Path, seed: int = 0, recipe: str = "", **changes: Any) -> Any:
    """Return such a model, compressed by a recipe if one is named."""
    write_random(folder, seed, **changes)
    return octavo.compress(folder, recipe) if recipe else octavo.models.load(folder)


def write_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer whose token i is byte i + 4 of printable ASCII, or of a letter.

    "é" and "한" are two and three tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<unk>", "<s>", "</s>", "<pad>"]
    wanted = {c for text in map(chr, range(32, 120)) for c in _as_bytes(text)}
    wanted |= {c for text in ("é", "한") for c in _as_bytes(text)}
    words += [c for c in alphabet if c in wanted]
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    made.add_special_tokens(words[:4])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))


def _as_bytes(text: str) -> str:
    from tokenizers import pre_tokenizers

    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(part for part, _ in level.pre_tokenize_str(text))
