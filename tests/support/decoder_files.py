# SPDX-License-Identifier: Apache-2.0
"""Small random decoders, written as transformers writes them but without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

import octavo
from octavo.lora import Adapter, LowRank
from octavo.lora.layer import base_of

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
    """All tensors of a model."""
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
        is_joined = config["model_type"] == "phi3"
        if is_joined:
            linear(f"{layer}.self_attn.qkv_proj", heads * width + 2 * outer, size)
        else:
            linear(f"{layer}.self_attn.q_proj", heads * width, size)
            linear(f"{layer}.self_attn.k_proj", outer, size)
            linear(f"{layer}.self_attn.v_proj", outer, size)
        linear(f"{layer}.self_attn.o_proj", size, heads * width)
        if is_joined:
            linear(f"{layer}.mlp.gate_up_proj", 2 * wide, size)
        else:
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


PARTS = ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


def adapter(model: Any, seed: int = 0, parts: tuple[str, ...] = PARTS) -> Adapter:
    """Return a random adapter of rank 4 for some layers of a model."""
    rng = np.random.default_rng(seed)
    sides = {}
    for name, layer in model.named_modules():
        if name.endswith(parts):
            n, k = base_of(layer).shape  # type: ignore[attr-defined]
            a, b = (0.5 * rng.standard_normal(shape) for shape in ((4, k), (n, 4)))
            sides[name] = LowRank(a.astype("f4"), b.astype("f4"), 2.0)
    return Adapter({"peft_type": "LORA", "r": 4, "lora_alpha": 8}, sides)


CHAT = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}a:"


def write_chat(folder: Path) -> Path:
    """Write a model that reads and writes text, and has a chat template."""
    write_random(folder, max_position_embeddings=160)
    write_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    return folder


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer with a token for each byte of ASCII's text, "é" and "한".

    Those are two and three tokens.
    """
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    wanted = {byte for text in (*map(chr, range(32, 120)), "é", "한") for byte in text.encode()}
    vocabulary = [*special, *sorted(map(_character, wanted))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    level |= {"use_regex": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": index, "content": token, "special": True, **flags}
        for index, token in enumerate(special)
    ]
    model = {"type": "BPE", "merges": [], "vocab": {t: i for i, t in enumerate(vocabulary)}}
    document = {"version": "1.0", "added_tokens": added, "pre_tokenizer": level}
    text = json.dumps({**document, "decoder": level, "model": model})
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")


def _character(byte: int) -> str:
    """Return the character that stands for a byte in byte-level vocabularies."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in shown:
        return chr(byte)
    return chr(256 + [other for other in range(256) if other not in shown].index(byte))
