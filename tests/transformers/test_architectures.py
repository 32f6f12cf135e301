# SPDX-License-Identifier: Apache-2.0
"""Models of many architectures with int8 layers: they run, and come near the float ones."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

import octavo.torch as ot  # noqa: E402
from octavo.transformers import OctavoConfig  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

IDS = torch.arange(3, 19).reshape(2, 8)
COMMON = {
    "vocab_size": 99,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
}
DECODER = {**COMMON, "num_key_value_heads": 2, "pad_token_id": 0}
DEBERTA = {**COMMON, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
GPT = {"vocab_size": 99, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4}
T5 = {"vocab_size": 99, "d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "albert": ("AlbertForMaskedLM", "AlbertConfig", {**COMMON, "embedding_size": 32}),
    "bart": (
        "BartModel",
        "BartConfig",
        {"vocab_size": 99, "d_model": 64, "encoder_layers": 1, "decoder_layers": 1},
    ),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": 99, "hidden_size": 64, "n_layer": 2, "n_head": 4},
    ),
    "deberta": ("DebertaForMaskedLM", "DebertaConfig", DEBERTA),
    "deberta-v2": (
        "DebertaV2Model",
        "DebertaV2Config",
        {**DEBERTA, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    ),
    "electra": ("ElectraForMaskedLM", "ElectraConfig", {**COMMON, "embedding_size": 32}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT),
    "llama": ("LlamaForCausalLM", "LlamaConfig", DECODER),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"vocab_size": 99, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    ),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**DECODER, "num_local_experts": 4}),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", DECODER),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", COMMON),
    "opt": ("OPTForCausalLM", "OPTConfig", {**COMMON, "ffn_dim": 96, "word_embed_proj_dim": 32}),
    "t5": ("T5ForConditionalGeneration", "T5Config", {**T5, "decoder_start_token_id": 0}),
}


def build(name: str) -> Any:
    model, config, options = MODELS[name]
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**options)).eval()


def run(model: Any) -> Any:
    given = {"decoder_input_ids": IDS.flip(1)} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        made = model(input_ids=IDS, **given)
    return made.logits if "logits" in made else made.last_hidden_state


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_may_be_int8(name: str, dtype: Any) -> None:
    if not hasattr(transformers, MODELS[name][0]):
        pytest.skip(f"this transformers has no {MODELS[name][0]}")
    model = build(name).to(dtype)
    expected = run(model)
    summary = ot.quantize_(model, ot.Int8Dynamic(if_slower="quantize"))
    found = run(model)
    assert found.dtype == expected.dtype
    cosine = torch.nn.functional.cosine_similarity(found.float(), expected.float(), dim=-1)
    assert cosine.min() > 0.98
    told = {one.name for one in (*summary.converted, *summary.kept)}
    for path, parameter in model.named_parameters():
        if parameter.ndim > 1 and parameter.numel() >= 1 << 15:
            assert path.rpartition(".")[0] in told


@pytest.mark.filterwarnings("ignore:.*bos_token_id|.*eos_token_id")
def test_a_gpt2_is_saved_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    build("gpt2").save_pretrained(tmp_path / "float")
    config = OctavoConfig(if_slower="quantize")
    auto = transformers.AutoModelForCausalLM
    model = auto.from_pretrained(tmp_path / "float", quantization_config=config)
    summary = model.hf_quantizer.summary
    converted = {one.name: one.kind for one in summary.converted}
    assert converted["transformer.h.1.mlp.c_proj"] == "Conv1D"
    assert {one.name: one.reason for one in summary.kept} == {
        "transformer.wte": "its weight is tied to lm_head.weight, which stays float",
        "lm_head": "the output head stays float unless modules_to_not_convert is given",
    }
    model.save_pretrained(tmp_path / "int8")
    again = auto.from_pretrained(tmp_path / "int8")
    assert torch.equal(run(again), run(model))
    layer = again.transformer.h[0].attn.c_attn
    assert (type(layer), layer.nf, layer.weight.shape) == (ot.Linear, 192, (64, 192))
    assert run(copy.deepcopy(again)).equal(run(model))

    # Others do not say whether rows of such a weight are outputs or inputs.
    path = tmp_path / "int8" / "config.json"
    saved = json.loads(path.read_text())
    del saved["quantization_config"]["octavo"]
    path.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="Conv1D, and does not tell which axis has the outputs"):
        auto.from_pretrained(tmp_path / "int8", quantization_config=OctavoConfig())
