# SPDX-License-Identifier: Apache-2.0
"""Decoders out of GGUF files: those that their folders give, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import octavo
from decoder_gguf import write, write_adapter
from octavo.lora import LowRank

if TYPE_CHECKING:
    from pathlib import Path

IDS = np.random.default_rng(0).integers(3, 100, (2, 20))
GEMMA = {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "head_dim": 16}
GEMMA |= {"sliding_window": 5, "num_hidden_layers": 7, "query_pre_attn_scalar": 16}
GEMMA |= {"hidden_activation": "gelu_pytorch_tanh", "rope_parameters": None, "rope_theta": 1e6}
QWEN2 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "head_dim": 16}
MISTRAL = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "head_dim": 16}
PHI3 = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "sliding_window": 7}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1000.0, "partial_rotary_factor": 0.5}
LONGROPE |= {"original_max_position_embeddings": 16, "short_factor": [1.0, 1.5]}
LONGROPE |= {"long_factor": [1.25, 4.0], "attention_factor": 1.25}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False, "num_key_value_heads": 4},
        {"rope_parameters": LLAMA3},
        QWEN2,
        QWEN3,
        MISTRAL,
        PHI3,
        {**PHI3, "tie_word_embeddings": False, "rope_parameters": LONGROPE},
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
    assert kept.model.layers[0].mlp.down_proj.kind == "float32"
    kept.save(tmp_path / "out")
    again = octavo.compress(tmp_path / "out", "int8")
    np.testing.assert_array_equal(again(IDS), wanted(IDS))
    # Adapters are trained beside rows in the order of the folder; their own files have the other.
    adapter = decoder_files.adapter(wanted)
    found.load_adapter(adapter)
    wanted.load_adapter(write_adapter(tmp_path / "lora.gguf", config, adapter))
    np.testing.assert_array_equal(found(IDS), wanted(IDS))
    assert np.abs(again(IDS) - found(IDS)).max() > 0.5
    assert {"tokenizer.json", "config.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"general.architecture": "gemma2"},
            "general.architecture' is 'gemma2', supported: gemma3, llama",
        ),
        ({"llama.attn_logit_softcapping": 50.0}, "attn_logit_softcapping' is 50.0, which is not"),
        ({"llama.expert_count": 8}, "key 'llama.expert_count' is 8, which is not supported"),
        ({"llama.block_count": None}, "no key 'llama.block_count'"),
        ({"llama.block_count": 3}, "missing tensor 'model.layers.2"),
        ({"llama.block_count": 1}, "tensor 'model.layers.1.* has no place in the model"),
        ({"llama.embedding_length": 64}, r"has shape \(100, 32\), its keys ask for"),
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


KEYS = (
    "attention.head_count attention.head_count_kv attention.key_length attention.sliding_window"
    " attention.layer_norm_rms_epsilon block_count context_length embedding_length expert_count"
    " feed_forward_length rope.dimension_count rope.freq_base rope.freq_base_swa"
    " rope.scaling.factor"
)


@pytest.mark.parametrize("key", KEYS.split())
def test_values_of_other_types(tmp_path: Path, key: str) -> None:
    for value in ("", "x", True, ["a"], np.array([1, 2], np.uint32), np.array([], np.float32)):
        config, changes = {**decoder_files.LLAMA, **GEMMA}, {f"gemma3.{key}": value}
        file = write(tmp_path / "x.gguf", config, **changes)
        with pytest.raises(ValueError, match=rf"x\.gguf: key 'gemma3\.{key}' is .*, "):
            octavo.models.load(file)


def test_factors_without_a_type_are_linear(tmp_path: Path) -> None:
    """As llama.cpp reads them; older files have another key."""
    wanted = decoder_files.loaded(
        tmp_path / "folder",
        recipe="int8",
        rms_norm_eps=float(np.float32(1e-6)),
        rope_parameters={"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0},
    )
    for key in ("rope.scaling.factor", "rope.scale_linear"):
        config = {**decoder_files.LLAMA, "rms_norm_eps": float(np.float32(1e-6))}
        found = octavo.models.load(write(tmp_path / "x.gguf", config, **{f"llama.{key}": 4.0}))
        np.testing.assert_array_equal(found(IDS), wanted(IDS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.type": "model"}, "'general.type' is 'model', expected 'adapter'"),
        ({"general.architecture": "qwen2"}, "architecture' is 'qwen2', expected 'llama'"),
        ({"adapter.type": None}, "'adapter.type' is None, expected 'lora'"),
        ({"adapter.alora.invocation_tokens": np.ones(2, "u4")}, "invocation_tokens' is .*None"),
        ({"adapter.lora.alpha": 0.0}, "lora_alpha: expected a positive number, got 0.0"),
    ],
)
def test_adapters_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    model = decoder_files.loaded(tmp_path / "in")
    adapter = decoder_files.adapter(model)
    file = write_adapter(tmp_path / "lora.gguf", decoder_files.LLAMA, adapter, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        model.load_adapter(file)
    assert str(caught.value).startswith(str(file))


def test_adapters_of_another_base(tmp_path: Path) -> None:
    whole = write(tmp_path / "model.gguf", decoder_files.LLAMA, **{"general.type": "adapter"})
    with pytest.raises(ValueError, match="a LoRA adapter; load its base and use load_adapter"):
        octavo.models.load(whole)
    model = decoder_files.loaded(tmp_path / "in")
    adapter = decoder_files.adapter(model, parts=("0.self_attn.q_proj",))
    side = adapter.layers["model.layers.0.self_attn.q_proj"]
    # Not as many rows as heads, so that they are not turned.
    adapter.layers["model.layers.0.self_attn.q_proj"] = LowRank(side.a, side.b[:6], side.scale)
    config = {**decoder_files.LLAMA, "num_attention_heads": 1}
    with pytest.raises(ValueError, match="adapter of another base: layer"):
        model.load_adapter(write_adapter(tmp_path / "lora.gguf", config, adapter))


def test_pruning_looks_at_all_layers_together(tmp_path: Path) -> None:
    config = {**decoder_files.LLAMA, "rms_norm_eps": float(np.float32(1e-6))}
    recipe = {"prune": {"method": "magnitude", "sparsity": 0.5, "scope": "global"}}
    wanted = octavo.compress(decoder_files.write_random(tmp_path / "in", **config), recipe)
    found = octavo.compress(write(tmp_path / "x.gguf", config), recipe)
    np.testing.assert_array_equal(found(IDS), wanted(IDS))


def test_calls(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        octavo.models.load(tmp_path / "absent.gguf")
