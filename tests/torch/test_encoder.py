# SPDX-License-Identifier: Apache-2.0
"""to_encoder: a transformers model in memory gives the encoder that its saved folder gives."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

import model_files  # noqa: E402
import octavo  # noqa: E402
import octavo.torch as ot  # noqa: E402
from octavo import nn  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INT8 = ot.Int8Dynamic(if_slower="quantize")
FAMILIES = ["bert", "distilbert", "modernbert"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def made(family: str = "bert", head: bool = False, **changes: Any) -> Any:
    """A random model of transformers."""
    torch.manual_seed(3)
    return model_files.in_transformers(family, head, **changes)


def assert_same(one: Any, other: Any) -> None:
    ids, mask = model_files.batch()
    np.testing.assert_array_equal(one(ids, mask), other(ids, mask))
    states = {name: leaf.state_dict() for name, leaf in one.named_modules() if _is_leaf(leaf)}
    others = {name: leaf.state_dict() for name, leaf in other.named_modules() if _is_leaf(leaf)}
    assert states.keys() == others.keys()
    for name, state in states.items():
        assert state.keys() == others[name].keys(), name
        for key, value in state.items():
            np.testing.assert_array_equal(value, others[name][key], err_msg=f"{name}.{key}")


def _is_leaf(module: Any) -> bool:
    return not any(True for _ in module.named_children()) and hasattr(module, "state_dict")


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_saved_folder(family: str, head: bool, tmp_path: Path) -> None:
    model = made(family, head)
    model.save_pretrained(tmp_path / "float")
    loaded = octavo.models.load(tmp_path / "float")
    encoder = ot.to_encoder(model)
    assert_same(encoder, loaded)
    assert encoder.config.raw | {"dtype": "float32"} == loaded.config.raw
    assert encoder.source is None
    ids, mask = model_files.batch()
    with torch.no_grad():
        wanted = model(torch.tensor(ids), torch.tensor(mask))
    if head:
        logits = encoder.logits(ids, mask)
        np.testing.assert_array_equal(logits, loaded.logits(ids, mask))
        np.testing.assert_allclose(logits, wanted.logits.numpy(), atol=2e-5)
    else:
        states = wanted.last_hidden_state.numpy()[mask == 1]
        np.testing.assert_allclose(encoder(ids, mask)[mask == 1], states, atol=2e-5)
    encoder.save(tmp_path / "mine")
    loaded.save(tmp_path / "theirs")
    mine, theirs = (tmp_path / name / "model.safetensors" for name in ("mine", "theirs"))
    assert mine.read_bytes() == theirs.read_bytes()


def test_float_weights_are_shared() -> None:
    model = made()
    encoder: Any = ot.to_encoder(model)
    table = encoder.embeddings.word_embeddings.weight
    assert table.ctypes.data == model.embeddings.word_embeddings.weight.data_ptr()
    dense = encoder.encoder.layer[0].output.dense.weight
    assert dense.ctypes.data == model.encoder.layer[0].output.dense.weight.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(dtype: Any) -> None:
    model = made().to(dtype)
    encoder = ot.to_encoder(model)
    assert_same(encoder, ot.to_encoder(model.float()))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_int8_layers_keep_their_codes(family: str, symmetric: bool, tmp_path: Path) -> None:
    model = made(family)
    plain = ot.to_encoder(copy.deepcopy(model))
    ot.quantize_(model, ot.Int8Dynamic(if_slower="quantize", symmetric=symmetric))
    encoder = ot.to_encoder(model)
    kinds = {type(leaf) for _, leaf in encoder.named_modules() if _is_leaf(leaf)}
    assert kinds == {nn.Linear, nn.Embedding, nn.LayerNorm}
    if not symmetric:
        assert_same(encoder, octavo.compress(plain, "int8"))
    encoder.save(tmp_path / "int8")
    assert_same(encoder, octavo.models.load(tmp_path / "int8"))


def test_pruned_int8_layers_hold_no_zeros() -> None:
    model = made()
    ot.prune_(model, "l1_unstructured", amount=0.9)
    pruned = ot.to_encoder(model)
    share = [
        (leaf.weight == 0).mean()
        for _, leaf in pruned.named_modules()
        if isinstance(leaf, nn.FloatLinear)
    ]
    assert min(share) > 0.85
    ot.quantize_(model, INT8)
    encoder: Any = ot.to_encoder(model)
    layers = [leaf for _, leaf in encoder.named_modules() if isinstance(leaf, nn.Linear)]
    assert all(isinstance(leaf, nn.SparseLinear) for leaf in layers)
    assert encoder.encoder.layer[0].intermediate.dense.activation == "gelu"


def test_without_a_pooler() -> None:
    model = transformers.BertModel(made().config, add_pooling_layer=False).eval()
    encoder: Any = ot.to_encoder(model)
    assert encoder.pooler is None
    assert encoder(*model_files.batch()).shape == (4, 12, 32)


def test_tokenizer_files_travel_along(tmp_path: Path) -> None:
    model_files.write_tokenizer(tmp_path)
    encoder = ot.to_encoder(made(), tmp_path)
    assert encoder.side_files == ["tokenizer.json"]
    encoder.save(tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    with pytest.raises(FileNotFoundError, match="tokenizer: no such folder"):
        ot.to_encoder(made(), tmp_path / "none")


def test_a_subset_of_layers_is_a_student() -> None:
    model = made()
    model.encoder.layer = model.encoder.layer[:1]
    with pytest.raises(ValueError, match=r"'encoder.layer.1.attention.self.query': the model has"):
        ot.to_encoder(model)
    model.config.num_hidden_layers = 1
    assert len(ot.to_encoder(model).blocks()) == 1


class Adapted(torch.nn.Linear):
    """A layer that computes something of its own."""


def _replace(path: str, make: Callable[[Any], Any]) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, make(model.get_submodule(path)))

    return change


def _patch(model: Any) -> None:
    layer = model.encoder.layer[0].output.dense
    layer.forward = layer.forward


QUERY = "encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_replace(QUERY, lambda _: Adapted(32, 32)), f"'{QUERY}': expected .*Linear or .*Adapted"),
        (_replace(QUERY, lambda _: torch.nn.Identity()), "got Identity"),
        (_replace(QUERY, lambda _: torch.nn.Linear(32, 16)), r"shape \(32, 32\).*got \(16, 32\)"),
        (_replace(QUERY, lambda _: torch.nn.Linear(32, 32, device="meta")), "meta"),
        (_replace(QUERY, torch.nn.utils.parametrizations.weight_norm), "Parametrized|computed"),
        (_replace("encoder.layer.1.output.LayerNorm", lambda _: torch.nn.LayerNorm(32)), "eps"),
        (
            _replace("encoder.layer.1", lambda one: torch.nn.Sequential(one)),
            r"'encoder.layer.1.attention.self.query'",
        ),
        (_patch, r"'encoder.layer.0.output.dense': .*patched"),
        (lambda model: model.encoder.layer.append(model.encoder.layer[0]), "no place in"),
        (
            lambda model: setattr(model.encoder, "gate", torch.nn.Linear(2, 2)),
            r"'encoder.gate': has no place",
        ),
        (lambda model: setattr(model.config, "is_decoder", True), "decoder"),
        (lambda model: setattr(model.config, "hidden_act", "mish"), "hidden_act"),
    ],
)
def test_what_does_not_fit_is_named(change: Callable[[Any], None], message: str) -> None:
    model = made()
    change(model)
    with pytest.raises(ValueError, match=message):
        ot.to_encoder(model)


class OwnClassifier(transformers.BertForSequenceClassification):
    """A user's class is what it is derived from."""


def test_heads() -> None:
    model = OwnClassifier(made(head=True, num_labels=5).config).eval()
    ids, mask = model_files.batch()
    assert ot.to_encoder(model).logits(ids, mask).shape == (4, 5)
    model.classifier = torch.nn.Sequential(model.classifier)
    with pytest.raises(ValueError, match=r"layer 'classifier': expected .*, got Sequential"):
        ot.to_encoder(model)
    masked = transformers.BertForMaskedLM(model.config).eval()
    with pytest.warns(UserWarning, match=r"model: left out, .* place for it: 'cls' \(4\)"):
        assert ot.to_encoder(masked).task == ""
    answering = transformers.BertForQuestionAnswering(model.config).eval()
    assert ot.to_encoder(answering).task == "QuestionAnswering"


def test_names_are_those_of_the_whole_model() -> None:
    model = made(head=True)
    model.bert.pooler.dense = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"'bert.pooler.dense'"):
        ot.to_encoder(model)


@pytest.mark.parametrize("wrong", [None, 3, torch.nn.Linear(2, 2), "folder"])
def test_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="model: expected a BERT-like"):
        ot.to_encoder(wrong)


def test_other_architectures_are_refused() -> None:
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match="unknown model_type 'llama'"):
        ot.to_encoder(transformers.LlamaModel(config))
