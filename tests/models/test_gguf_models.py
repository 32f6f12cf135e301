# SPDX-License-Identifier: Apache-2.0
"""Decoders out of GGUF files: those that their folders give, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import octavo
from gguf_files import float_tensor, gguf_bytes

if TYPE_CHECKING:
    from pathlib import Path

IDS = np.random.default_rng(0).integers(3, 100, (2, 20))
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
}
GEMMA_NAMES = {
    **NAMES,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GEMMA = {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "head_dim": 16}
GEMMA |= {"sliding_window": 5, "num_hidden_layers": 7, "query_pre_attn_scalar": 16}
GEMMA |= {"hidden_activation": "gelu_pytorch_tanh", "rope_parameters": None, "rope_theta": 1e6}
QWEN2 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "head_dim": 16}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def keys(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    kind = config["model_type"].removesuffix("_text")
    own = {
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "context_length": config["max_position_embeddings"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "block_count": config["num_hidden_layers"],
        "attention.layer_norm_rms_epsilon": float(np.float32(config["rms_norm_eps"])),
        "rope.freq_base": (config["rope_parameters"] or config)["rope_theta"],
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
    return {key: value for key, value in given.items() if value is not None}


def turned(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of halves of heads as pairs."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(file: Path, config: dict[str, Any], **changes: Any) -> Path:
    tensors = []
    for name, values in decoder_files.random_tensors(config).items():
        parts = name.split(".")
        if config["model_type"] == "llama" and parts[-2] in ("q_proj", "k_proj"):
            heads = "num_attention_heads" if parts[-2] == "q_proj" else "num_key_value_heads"
            values = turned(values, config[heads])
        block = f"blk.{parts[2]}." if parts[1] == "layers" else ""
        if config["model_type"] == "gemma3_text" and values.ndim == 1:
            values = values + 1
        names = GEMMA_NAMES if config["model_type"] == "gemma3_text" else NAMES
        tensors.append(float_tensor(f"{block}{names[parts[-2]]}.{parts[-1]}", values))
    if (config["rope_parameters"] or {}).get("rope_type") == "llama3":
        slow, plain = (
            np.array(octavo.models.rope.read_rope({**config, "rope_parameters": given}, 8)[0])
            for given in (config["rope_parameters"], {"rope_theta": 1000.0})
        )
        tensors.append(float_tensor("rope_freqs.weight", plain / slow))
    file.write_bytes(gguf_bytes(keys(config, **changes), tuple(tensors)))
    return file


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False, "num_key_value_heads": 4},
        {"rope_parameters": LLAMA3},
        QWEN2,
        QWEN3,
        GEMMA,
    ],
    ids=str,
)
def test_it_is_the_model_of_its_folder(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = {**decoder_files.LLAMA, "rms_norm_eps": float(np.float32(1e-6)), **changes}
    wanted = decoder_files.loaded(tmp_path / "in", recipe="int8", **config)
    file = write(tmp_path / "model.gguf", config)
    found = octavo.models.load(file)
    np.testing.assert_array_equal(found(IDS), wanted(IDS))
    assert found.end_ids == (2,)
    # As float weights, and saved as a folder.
    kept = octavo.models.loader.load_with(file, lambda _, layer: layer)
    assert kept.model.layers[0].mlp.up_proj.kind == "float32"
    kept.save(tmp_path / "out")
    again = octavo.compress(tmp_path / "out", "int8")
    np.testing.assert_array_equal(again(IDS), wanted(IDS))
    assert {"tokenizer.json", "config.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"general.architecture": "gemma2"},
            "general.architecture' is 'gemma2', supported: gemma3, llama",
        ),
        ({"llama.expert_count": 8}, "key 'llama.expert_count' is 8, which is not supported"),
        ({"llama.block_count": None}, "no key 'llama.block_count'"),
        ({"llama.block_count": 3}, "missing tensor 'model.layers.2"),
        ({"llama.block_count": 1}, "tensor 'model.layers.1.* has no place in the model"),
        ({"llama.embedding_length": 64}, r"has shape \(100, 32\), config.json asks for"),
        ({"llama.attention.head_count": 0}, "num_attention_heads is 0, expected a positive"),
        ({"llama.feed_forward_length": np.array([48, 48], np.uint32)}, "a value for each layer"),
        ({"llama.rope.scaling.type": "longrope"}, "no key 'llama.rope.scaling.factor'"),
        ({"tokenizer.ggml.model": None}, "tokenizer.ggml.model"),
    ],
)
def test_what_is_missing_or_not_supported(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = write(tmp_path / "model.gguf", decoder_files.LLAMA, **changes)
    with pytest.raises(ValueError, match=message):
        octavo.models.load(file)


def test_calls(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        octavo.models.load(tmp_path / "absent.gguf")
    with pytest.raises(ValueError, match="shared: expected False with a GGUF file"):
        octavo.models.load(tmp_path / "absent.gguf", shared=True)
