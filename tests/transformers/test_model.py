# SPDX-License-Identifier: Apache-2.0
"""OctavoConfig in from_pretrained: what becomes int8, saving, loading, files of other writers."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
st = pytest.importorskip("safetensors.torch", reason="needs safetensors")

import model_files  # noqa: E402
import octavo.torch as ot  # noqa: E402
from octavo import _backend, compression, models  # noqa: E402
from octavo.transformers import OctavoConfig  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

nn = torch.nn
VERSION_5 = int(transformers.__version__.partition(".")[0]) >= 5
IDS = torch.arange(5, 25).reshape(2, 10)
BERT = {
    **model_files.BERT,
    "hidden_size": 192,
    "intermediate_size": 256,
    "num_attention_heads": 4,
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def write_bert(folder: Path) -> Path:
    return model_files.write_folder(folder, BERT, model_files.random_tensors(BERT))


def write_llama(folder: Path, *, tied: bool, dtype: Any = torch.float32) -> Path:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=256,
        hidden_size=192,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    transformers.LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return transformers.AutoModel.from_pretrained(folder, **options)


def load_lm(folder: Path, **options: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **options)


def run(model: Any) -> Any:
    with torch.inference_mode():
        made = model(input_ids=IDS)
    return made.logits if hasattr(made, "logits") else made.last_hidden_state


def similarity(a: Any, b: Any) -> float:
    return float(nn.functional.cosine_similarity(a.float(), b.float(), dim=-1).min())


def stored_config(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / "config.json").read_text())["quantization_config"]
    return made


def test_a_float_checkpoint_becomes_what_quantize_makes(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    plain = load(folder)
    floats = run(plain)
    ours = load(folder, quantization_config=OctavoConfig())
    summary = ot.quantize_(plain)
    assert ours.hf_quantizer.summary == summary
    assert len(summary.converted) == 2 * 6 + 1 + 3
    assert torch.equal(run(ours), run(plain))
    assert 0.99 < similarity(run(ours), floats) < 1
    assert not ours.training


def test_a_saved_model_loads_bit_for_bit(tmp_path: Path) -> None:
    model = load(write_bert(tmp_path / "bert"), quantization_config=OctavoConfig(symmetric=True))
    expected = run(model)
    model.save_pretrained(tmp_path / "a")
    config = stored_config(tmp_path / "a")
    assert config["quant_method"] == "compressed-tensors"
    assert config["format"] == "int-quantized"
    tensors = st.load_file(tmp_path / "a" / "model.safetensors")
    assert tensors["encoder.layer.1.output.dense.weight"].dtype == torch.int8
    assert tensors["encoder.layer.1.output.dense.weight_scale"].shape == (192, 1)
    for options in ({}, {"quantization_config": OctavoConfig()}):
        again = load(tmp_path / "a", **options)
        assert isinstance(again.encoder.layer[0].output.dense, ot.Linear)
        assert again.encoder.layer[0].output.dense.symmetric
        assert isinstance(again.embeddings.word_embeddings, ot.Embedding)
        assert torch.equal(run(again), expected)
    again.save_pretrained(tmp_path / "b")
    assert stored_config(tmp_path / "b") == config
    assert torch.equal(run(load(tmp_path / "b")), expected)


@pytest.mark.parametrize("group", [None, 64])
def test_4_bits(tmp_path: Path, group: int | None) -> None:
    config = OctavoConfig(bits=4, group=group)
    floats = write_bert(tmp_path / "bert")
    model = load(floats, quantization_config=config)
    twin = load(floats)
    summary = ot.quantize_(twin, ot.Int4Dynamic(group or 32))
    assert model.hf_quantizer.summary == summary
    assert {layer.weight for layer in summary.converted} == {"int8", "int4"}
    expected = run(model)
    assert torch.equal(run(twin), expected)
    model.save_pretrained(tmp_path / "a")
    described = stored_config(tmp_path / "a")
    assert described["format"] == "mixed-precision"
    again = load(tmp_path / "a")
    assert torch.equal(run(again), expected)
    own = models.load(tmp_path / "a")
    layer = own.get_submodule("encoder.layer.0.output.dense")
    x = torch.randn(3, 256)
    assert layer.kind == "int4"
    assert layer.held_weight.group == (group or 32)
    made = again.encoder.layer[0].output.dense(x)
    assert torch.equal(made, torch.from_numpy(layer(x.numpy())))
    half = load(tmp_path / "a", dtype=torch.bfloat16)
    assert similarity(run(half), expected) > 0.99


@pytest.mark.parametrize("sparse", ["auto", "never", "always"])
def test_pruned_models_are_saved_with_their_zeros(tmp_path: Path, sparse: str) -> None:
    plain = load(write_bert(tmp_path / "bert"))
    ot.prune_(plain, "block", rows=16, cols=64, amount=0.75)
    for part in plain.modules():
        if ot.prune.is_pruned(part) and isinstance(part, nn.Linear):
            ot.prune.remove(part, "weight")
    plain.save_pretrained(tmp_path / "pruned")
    model = load(tmp_path / "pruned", quantization_config=OctavoConfig(sparse=sparse))
    dense = model.encoder.layer[1].output.dense
    kinds = {"auto": _sparse_kind(), "never": ot.Linear, "always": ot.SparseLinear}
    assert type(dense) is kinds[sparse]
    expected = run(model)
    model.save_pretrained(tmp_path / "int8")
    tensors = st.load_file(tmp_path / "int8" / "model.safetensors")
    saved = tensors["encoder.layer.1.output.dense.weight"]
    assert torch.equal(saved, dense._weight.codes())
    assert not any("bitmap" in name for name in tensors)
    again = load(tmp_path / "int8")
    assert type(again.encoder.layer[1].output.dense) is _sparse_kind()
    assert torch.equal(run(again), expected)
    assert "sparse" not in stored_config(tmp_path / "int8")


def _sparse_kind() -> type[nn.Module]:
    return ot.SparseLinear if _backend.name == "native" else ot.Linear


def test_the_numpy_models_read_what_is_saved(tmp_path: Path) -> None:
    model = load(write_bert(tmp_path / "bert"), quantization_config=OctavoConfig())
    model.save_pretrained(tmp_path / "int8")
    own = models.load(tmp_path / "int8")
    own.attention_precision = "float32"  # as in PyTorch
    states = own(IDS.numpy())
    assert similarity(torch.from_numpy(states), run(model)) > 0.9999


def test_an_artifact_of_octavo_compress_loads(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    compression.compress(models.load(folder)).save(tmp_path / "out")
    model = load(tmp_path / "out", quantization_config=OctavoConfig())
    encoder = models.load(tmp_path / "out")
    encoder.attention_precision = "float32"  # as in PyTorch
    own = torch.from_numpy(encoder(IDS.numpy()))
    assert similarity(run(model), own) > 0.9999
    assert similarity(run(model), run(load(folder))) > 0.99


def test_the_base_model_reads_a_task_model(tmp_path: Path) -> None:
    auto = transformers.AutoModelForSequenceClassification
    task = auto.from_pretrained(write_bert(tmp_path / "bert"), quantization_config=OctavoConfig())
    assert isinstance(task.bert.encoder.layer[0].output.dense, ot.Linear)
    assert type(task.classifier) is nn.Linear
    task.save_pretrained(tmp_path / "task")
    base = load(tmp_path / "task")
    assert isinstance(base.encoder.layer[0].output.dense, ot.Linear)
    with torch.inference_mode():
        states = task.bert(input_ids=IDS).last_hidden_state
    assert torch.equal(run(base), states)
    assert torch.equal(run(auto.from_pretrained(tmp_path / "task")), run(task))


@pytest.mark.parametrize("everything", [False, True])
def test_a_head_that_the_checkpoint_lacks_can_be_trained(tmp_path: Path, everything: bool) -> None:
    skip: list[str] | None = [] if everything else None
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        write_bert(tmp_path / "bert"),
        num_labels=300,
        quantization_config=OctavoConfig(if_slower="quantize", modules_to_not_convert=skip),
    )
    assert isinstance(model.bert.pooler.dense, ot.Linear)
    assert isinstance(model.classifier, ot.Linear) == everything
    if not everything:
        reasons = {layer.name: layer.reason for layer in model.hf_quantizer.summary.kept}
        assert reasons["classifier"].startswith("the checkpoint lacks it")
        model(input_ids=IDS, labels=torch.zeros(len(IDS), dtype=torch.long)).loss.backward()
        assert model.classifier.weight.grad.any()
        model.save_pretrained(tmp_path / "int8")
        again = type(model).from_pretrained(tmp_path / "int8")
        assert torch.equal(again.classifier.weight, model.classifier.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_language_models_and_their_heads(
    tmp_path: Path, tied: bool, everything: bool, dtype: Any
) -> None:
    folder = write_llama(tmp_path / "llama", tied=tied, dtype=dtype)
    skip: list[str] | None = [] if everything else None
    config = OctavoConfig(modules_to_not_convert=skip)
    model = load_lm(folder, quantization_config=config, dtype=dtype)
    table, head = model.model.embed_tokens, model.lm_head
    assert isinstance(head, ot.Linear) == everything
    assert isinstance(table, ot.Embedding) == (everything or not tied)
    assert run(model).dtype == dtype
    assert similarity(run(model), run(load_lm(folder, dtype=dtype))) > 0.99
    model.save_pretrained(tmp_path / "int8")
    again = load_lm(tmp_path / "int8", dtype=dtype)
    assert type(again.lm_head) is type(head)
    if tied and everything:
        assert again.lm_head._weight is again.model.embed_tokens._weight
        assert "lm_head.weight" not in st.load_file(tmp_path / "int8" / "model.safetensors")
    if VERSION_5 or dtype == torch.float32:
        assert torch.equal(run(again), run(model))
    else:
        # transformers 4 casts the scales, too.
        assert similarity(run(again), run(model)) > 0.999


def test_generate_runs(tmp_path: Path) -> None:
    model = load_lm(write_llama(tmp_path / "llama", tied=False), quantization_config=OctavoConfig())
    ids = torch.arange(5, 10)[None]
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False, pad_token_id=0
    )
    assert made.shape == (1, 8)


@pytest.mark.parametrize("strategy", ["channel", "tensor"])
@pytest.mark.parametrize("scale_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_checkpoints_of_other_writers(tmp_path: Path, strategy: str, scale_dtype: Any) -> None:
    folder = write_bert(tmp_path / "bert")
    path = folder / "model.safetensors"
    tensors = st.load_file(path)
    plain = load(folder)
    for name, module in plain.named_modules():
        if type(module) is not nn.Linear or name == "pooler.dense":
            continue
        weight = module.weight.detach()
        peak = weight.abs().amax(1, keepdim=True) if strategy == "channel" else weight.abs().max()
        scale = (peak / 127).to(scale_dtype)
        codes = (weight / scale.float()).round().clamp(-128, 127).to(torch.int8)
        module.weight.data = codes.float() * scale.float()
        tensors[f"{name}.weight"] = codes
        tensors[f"{name}.weight_scale"] = scale if strategy == "channel" else scale.reshape(1)
    st.save_file(tensors, path, {"format": "pt"})
    config = copy.deepcopy(model_files.W8A8) | {"ignore": ["re:pooler.*"]}
    config["config_groups"]["group_0"]["weights"]["strategy"] = strategy
    edit(folder, quantization_config=config)
    model = load(folder, quantization_config=OctavoConfig())
    layer = model.encoder.layer[0].intermediate.dense
    assert layer.symmetric
    assert torch.equal(layer.weight, plain.encoder.layer[0].intermediate.dense.weight)
    assert type(model.pooler.dense) is nn.Linear
    assert type(model.embeddings.word_embeddings) is nn.Embedding
    assert similarity(run(model), run(plain)) > 0.99


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_modules_that_stay_float(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    names = ["pooler", "layer.0", "query"]
    model = load(folder, quantization_config=OctavoConfig(modules_to_not_convert=names))
    left = {layer.name for layer in model.hf_quantizer.summary.kept}
    reasons = {layer.reason for layer in model.hf_quantizer.summary.kept}
    assert reasons == {"modules_to_not_convert has it"}
    first = {name for name, m in model.encoder.layer[0].named_modules() if type(m) is nn.Linear}
    assert left == {
        "pooler.dense",
        "encoder.layer.1.attention.self.query",
        *(f"encoder.layer.0.{name}" for name in first),
    }
    assert len(first) == 6
    model.save_pretrained(tmp_path / "int8")
    assert set(stored_config(tmp_path / "int8")["ignore"]) == left
    assert torch.equal(run(load(tmp_path / "int8")), run(model))


def test_one_config_serves_two_models(tmp_path: Path) -> None:
    config = OctavoConfig(modules_to_not_convert=[])
    bert = load(write_bert(tmp_path / "bert"), quantization_config=config)
    llama = load_lm(write_llama(tmp_path / "llama", tied=False), quantization_config=config)
    assert config.stored is None
    assert bert.config.quantization_config.stored != llama.config.quantization_config.stored


def test_a_dictionary_names_the_method(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    options = {"quant_method": "octavo", "embeddings": False}
    model = load(folder, quantization_config=options)
    assert type(model.embeddings.word_embeddings) is nn.Embedding
    assert isinstance(model.pooler.dense, ot.Linear)


def test_a_large_model_is_saved_in_shards(tmp_path: Path) -> None:
    model = load(write_bert(tmp_path / "bert"), quantization_config=OctavoConfig())
    model.save_pretrained(tmp_path / "int8", max_shard_size="300KB")
    assert len(list((tmp_path / "int8").glob("*.safetensors"))) > 1
    assert torch.equal(run(load(tmp_path / "int8")), run(model))


def test_sentence_transformers_in_one_line(tmp_path: Path) -> None:
    sentence = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    folder = write_bert(tmp_path / "bert")
    model_files.write_tokenizer(folder)
    plain = sentence.SentenceTransformer(str(folder), device="cpu")
    ours = sentence.SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"quantization_config": OctavoConfig()}
    )
    assert any(isinstance(part, ot.Linear) for part in ours.modules())
    texts = ["the small model", "the model"]
    expected = torch.from_numpy(plain.encode(texts))
    assert 0.99 < similarity(torch.from_numpy(ours.encode(texts)), expected) < 1
    ours.save(str(tmp_path / "int8"))
    again = sentence.SentenceTransformer(str(tmp_path / "int8"), device="cpu")
    assert torch.equal(torch.from_numpy(again.encode(texts)), torch.from_numpy(ours.encode(texts)))
