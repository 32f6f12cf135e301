# SPDX-License-Identifier: Apache-2.0
"""Hidden states against transformers' own models, to 1e-4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.algorithms.measures import cosines

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch", reason="the reference models need PyTorch")
transformers = pytest.importorskip("transformers", reason="the reference models need transformers")

pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = 1e-4


def reference(model: Any, ids: Any, mask: Any, types: Any = None) -> Any:
    extra = {} if types is None else {"token_type_ids": torch.from_numpy(types)}
    with torch.no_grad():
        output = model(
            input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **extra
        )
    return output.last_hidden_state.float().numpy()


def random_bert(**changes: Any) -> Any:
    """Weights larger than usual: attention and activations leave their linear range."""
    torch.manual_seed(0)
    return model_files.in_transformers(initializer_range=0.3, **changes)


def random_distilbert(**changes: Any) -> Any:
    torch.manual_seed(0)
    return model_files.in_transformers("distilbert", initializer_range=0.3, **changes)


# Narrower inside, counting positions from the padding's id, with a bias of distances, local.
OTHERS = {
    "Camembert": {"pad_token_id": 1, "max_position_embeddings": 26},
    "Electra": {"embedding_size": 16},
    "MPNet": {"max_position_embeddings": 26},
    "ModernBert": {},
    "Roberta": {"pad_token_id": 3, "max_position_embeddings": 28},
    "XLMRoberta": {"pad_token_id": 1, "max_position_embeddings": 26, "type_vocab_size": 1},
}


def random_other(kind: str, head: str = "Model", **changes: Any) -> Any:
    torch.manual_seed(0)
    base = model_files.CONFIGS.get(kind.lower(), model_files.BERT)
    fields = {k: v for k, v in base.items() if k != "model_type"}
    fields |= OTHERS[kind] | changes
    if kind == "MPNet":
        del fields["type_vocab_size"]
    config = getattr(transformers, f"{kind}Config")(**fields, initializer_range=0.3)
    return getattr(transformers, f"{kind}{head}")(config).eval()


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures(tmp_path: Path, kind: str) -> None:
    model = random_other(kind)
    model.save_pretrained(tmp_path / "float")
    ids, mask = model_files.batch()
    ids[mask == 0] = model.config.pad_token_id
    loaded = octavo.models.load(tmp_path / "float")
    assert_close(loaded(ids, mask), reference(model, ids, mask), mask)
    with pytest.raises(ValueError, match="25 tokens, the model has 24 positions"):
        loaded(np.full((1, 25), 5))
    long = np.random.default_rng(0).integers(5, 100, (2, 24))
    every = np.ones_like(long)
    assert_close(loaded(long, every), reference(model, long, every), every)
    calibration = {"input_ids": ids, "attention_mask": mask}
    for recipe in ("int8", {"quantize": {"smooth": "auto", "rounding": "gptq"}}):
        small = octavo.compress(
            loaded, recipe, calibration=None if recipe == "int8" else calibration
        )
        small.save(tmp_path / "int8")
        again = octavo.models.load(tmp_path / "int8")
        assert type(again) is type(loaded)
        np.testing.assert_array_equal(again(ids, mask), small(ids, mask))
        assert cosines(again.encode(ids, mask), loaded.encode(ids, mask)).min() > 0.99


# A window larger and smaller than a block of queries, one of a single token, other bases, biases.
BIASES = ("attention_bias", "classifier_bias", "mlp_bias", "norm_bias")
MODERN: dict[str, dict[str, Any]] = {
    "as published": {"local_attention": 128},
    "wide": {"local_attention": 200, "hidden_activation": "relu", "num_attention_heads": 1},
    "narrow": {"local_attention": 5, "global_attn_every_n_layers": 2, "local_rope_theta": 500.0},
    "itself": {"local_attention": 1, "classifier_activation": "silu", "global_rope_theta": 1e3},
    "biases": {"classifier_pooling": "mean", "local_attention": 64, **dict.fromkeys(BIASES, True)},
}


@pytest.mark.parametrize("style", [4, 5])
@pytest.mark.parametrize("kind", MODERN)
def test_modernbert(tmp_path: Path, kind: str, style: int) -> None:
    """Rows longer than the window, padded left and right and inside; configs of both styles."""
    changes = {"max_position_embeddings": 400, "classifier_pooling": "cls", **MODERN[kind]}
    model = random_other("ModernBert", "ForSequenceClassification", **changes)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_()
    model.save_pretrained(tmp_path / "float")
    config = octavo.io.folder.read_json(tmp_path / "float" / "config.json")
    assert {"layer_types", "rope_parameters"} <= config.keys()
    if style == 4:
        written = {k: v for k, v in config.items() if k not in ("layer_types", "rope_parameters")}
        octavo.io.folder.write_json(tmp_path / "float" / "config.json", written | changes)
    loaded = octavo.models.load(tmp_path / "float")
    places = np.arange(300)
    mask = np.stack([places >= 0, places < 170, places >= 100, places % 3 > 0]).astype(np.int64)
    ids = np.random.default_rng(0).integers(2, 100, mask.shape)
    assert_close(loaded(ids, mask), reference(model.model, ids, mask), mask)
    with torch.no_grad():
        logits = model(torch.from_numpy(ids), torch.from_numpy(mask)).logits
    starts_with_a_token = mask[:, 0] == 1
    np.testing.assert_allclose(
        loaded.logits(ids, mask)[starts_with_a_token], logits[starts_with_a_token], atol=TOLERANCE
    )
    # What follows a row changes no bit of it; a row of padding gives finite numbers.
    small = octavo.compress(loaded)
    for count in (170, 20):
        alone, together = small(ids[1:2, :count])[0], small(ids, mask * (places < count))[1]
        np.testing.assert_array_equal(alone, together[:count])
    assert np.isfinite(loaded.logits(ids, mask * 0)).all()
    loaded.save(tmp_path / "again")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "again").eval()
    np.testing.assert_array_equal(reference(theirs, ids, mask), reference(model.model, ids, mask))


def assert_close(ours: Any, theirs: Any, mask: Any) -> None:
    """Compare what stands for tokens; what stands for padding is nobody's business."""
    kept = mask.astype(bool)
    np.testing.assert_allclose(ours[kept], theirs[kept], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
def test_bert(tmp_path: Path, activation: str) -> None:
    model = random_bert(hidden_act=activation)
    model.save_pretrained(tmp_path)
    ids, mask = model_files.batch()
    types = (np.arange(ids.size).reshape(ids.shape) // 3) % 2
    loaded = octavo.models.load(tmp_path)
    assert_close(loaded(ids, mask), reference(model, ids, mask), mask)
    assert_close(loaded(ids, mask, types), reference(model, ids, mask, types), mask)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_distilbert(tmp_path: Path, activation: str) -> None:
    model = random_distilbert(activation=activation)
    model.save_pretrained(tmp_path)
    ids, mask = model_files.batch()
    loaded = octavo.models.load(tmp_path)
    assert_close(loaded(ids, mask), reference(model, ids, mask), mask)


def test_pooler(tmp_path: Path) -> None:
    model = random_bert()
    model.save_pretrained(tmp_path)
    ids, mask = model_files.batch()
    with torch.no_grad():
        theirs = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
    loaded = octavo.models.load(tmp_path)
    ours = loaded.pooler(loaded(ids, mask))
    np.testing.assert_allclose(ours, theirs.pooler_output.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("make", "head", "prefix"),
    [
        (random_bert, "BertForSequenceClassification", "bert."),
        (random_distilbert, "DistilBertForSequenceClassification", "distilbert."),
    ],
)
def test_prefixed_checkpoint_with_a_head(tmp_path: Path, make: Any, head: str, prefix: str) -> None:
    base = make()
    model = getattr(transformers, head)(base.config).eval()
    model.save_pretrained(tmp_path)
    names = octavo.io.TensorFile(tmp_path / "model.safetensors")
    assert any(name.startswith(prefix) for name in names)
    ids, mask = model_files.batch()
    ours = octavo.models.load(tmp_path)(ids, mask)
    assert_close(ours, reference(getattr(model, prefix[:-1]), ids, mask), mask)


def test_sharded(tmp_path: Path) -> None:
    model = random_bert()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    ids, mask = model_files.batch()
    assert_close(octavo.models.load(tmp_path)(ids, mask), reference(model, ids, mask), mask)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_float_types(tmp_path: Path, dtype: str) -> None:
    model = random_bert().to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    ids, mask = model_files.batch()
    ours = octavo.models.load(tmp_path)(ids, mask)
    assert_close(ours, reference(model.float(), ids, mask), mask)


def test_saved_float_model_is_read_back_by_transformers(tmp_path: Path) -> None:
    model = random_distilbert()
    model.save_pretrained(tmp_path / "in")
    octavo.models.load(tmp_path / "in").save(tmp_path / "out")
    ids, mask = model_files.batch()
    again = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    np.testing.assert_array_equal(reference(again, ids, mask), reference(model, ids, mask))


def test_biases_that_pruning_adds_are_read_by_transformers(tmp_path: Path) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path / "in", "modernbert"))
    ids, mask = model_files.batch()
    recipe = {"prune": {"sparsity": 0.5, "method": "sparsegpt"}, "quantize": "none"}
    data = {"input_ids": ids, "attention_mask": mask}
    pruned = octavo.compress(model, recipe, calibration=data)
    assert pruned.get_submodule("layers.0.attn.Wo").bias.any()
    pruned.save(tmp_path / "out")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    assert (theirs.config.attention_bias, theirs.config.norm_bias) == (True, False)
    assert_close(pruned(ids, mask), reference(theirs, ids, mask), mask)


def test_artifact_is_read_by_transformers(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="reading the artifact needs it")
    model_files.write_random(tmp_path / "in")
    small = octavo.compress(tmp_path / "in")
    small.save(tmp_path / "out")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    theirs.save_pretrained(tmp_path / "again")
    first = octavo.models.load(tmp_path / "out").state_dict()
    second = octavo.models.load(tmp_path / "again").state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    ids, mask = model_files.batch()
    ours = small(ids, mask)[mask.astype(bool)]
    difference = reference(theirs, ids, mask)[mask.astype(bool)] - ours
    assert np.abs(difference).mean() < 0.05 * np.abs(ours).mean()


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_in_memory(kind: str) -> None:
    octavo_torch = pytest.importorskip("octavo.torch", reason="needs PyTorch")
    model = random_other(kind)
    ids, mask = model_files.batch()
    ids[mask == 0] = model.config.pad_token_id
    encoder = octavo_torch.to_encoder(model)
    assert_close(encoder(ids, mask), reference(model, ids, mask), mask)


@pytest.mark.parametrize("task", model_files.TASKS)
@pytest.mark.parametrize("kind", OTHERS)
def test_heads_of_other_architectures(tmp_path: Path, kind: str, task: str) -> None:
    answers = task == "QuestionAnswering"
    model = random_other(kind, f"For{task}", num_labels=2 if answers else 3)
    model.save_pretrained(tmp_path / "float")
    ids, mask = model_files.batch()
    ids[mask == 0] = model.config.pad_token_id
    with torch.no_grad():
        found = model(torch.from_numpy(ids), torch.from_numpy(mask))
    logits = (found.start_logits, found.end_logits) if answers else [found.logits]
    wanted = np.stack([part.numpy() for part in logits], axis=-1)
    wanted = wanted if answers else wanted[..., 0]
    loaded = octavo.models.load(tmp_path / "float")
    kept = slice(None) if wanted.ndim == 2 else mask.astype(bool)
    np.testing.assert_allclose(loaded.logits(ids, mask)[kept], wanted[kept], atol=TOLERANCE)
    data = {"input_ids": ids, "attention_mask": mask}
    small = octavo.compress(loaded, "int8-static", calibration=data)
    small.save(tmp_path / "small")
    again = octavo.models.load(tmp_path / "small")
    np.testing.assert_array_equal(again.logits(ids, mask), small.logits(ids, mask))
    last = again.output_of_task[task]
    two = task == "SequenceClassification" and kind != "ModernBert"
    assert again.get_submodule(f"{last}.out_proj" if two else last).kind == "float32"
