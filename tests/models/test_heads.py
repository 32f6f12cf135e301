# SPDX-License-Identifier: Apache-2.0
"""Heads: logits, what compression leaves alone, files that transformers reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

import octavo
from model_files import CONFIGS, TASKS, batch, random_tensors, write_classifier, write_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=[(family, task) for family in CONFIGS for task in TASKS], ids="-".join)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    family, task = request.param
    labels = 2 if task == "QuestionAnswering" else 3
    return write_classifier(tmp_path / "model", family, labels, task)


def transformers_logits(folder: Path, ids: Any, mask: Any) -> Any:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    task = octavo.models.load(folder).config.task
    model = getattr(transformers, f"AutoModelFor{task}").from_pretrained(folder).eval()
    with torch.inference_mode():
        whole = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        found = model(**whole)
        if task == "QuestionAnswering":
            return np.stack([found.start_logits.numpy(), found.end_logits.numpy()], axis=-1)
        return found.logits.numpy()


def test_logits(folder: Path) -> None:
    ids, mask = batch()
    model = octavo.models.load(folder)
    logits, wanted = model.logits(ids, mask), transformers_logits(folder, ids, mask)
    assert logits.dtype == np.float32
    assert logits.shape == wanted.shape
    kept = slice(None) if logits.ndim == 2 else mask.astype(bool)
    np.testing.assert_allclose(logits[kept], wanted[kept], atol=1e-4)
    if model.task == "SequenceClassification":
        named = [f"class {index}" for index in logits.argmax(1)]
        assert [one.label for one in model.classify(ids, mask)] == named
    else:
        with pytest.raises(ValueError, match=f"with one for {model.task}: see logits"):
            model.classify(ids, mask)


def test_the_output_layer_stays_float_and_is_not_pruned(folder: Path, tmp_path: Path) -> None:
    model = octavo.models.load(folder)
    ids, mask = batch()
    name = model.output_of_task[model.task]
    weight = getattr(model, name).weight
    data = {"input_ids": ids, "attention_mask": mask}
    for recipe, calibration in (("int8", None), ("sparse50-int8", None), ("int8-gptq", data)):
        small = octavo.compress(folder, recipe, calibration=calibration)
        assert isinstance(getattr(small, name), octavo.nn.FloatLinear)
        assert np.array_equal(getattr(small, name).weight, weight)
        small.save(tmp_path / "small")
        again = octavo.models.load(tmp_path / "small")
        assert np.array_equal(again.logits(ids, mask), small.logits(ids, mask))


def test_transformers_reads_what_was_saved(folder: Path, tmp_path: Path) -> None:
    model = octavo.models.load(folder)
    model.save(tmp_path / "copy")
    ids, mask = batch()
    np.testing.assert_array_equal(
        transformers_logits(tmp_path / "copy", ids, mask), transformers_logits(folder, ids, mask)
    )
    assert (
        octavo.models.load(tmp_path / "copy").config.raw["label2id"]
        == (model.config.raw["label2id"])
    )


def test_two_labels_are_the_default(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", "bert", labels=2)
    config = octavo.io.folder.read_json(folder / "config.json")
    for key in ("id2label", "label2id"):
        del config[key]
    octavo.io.folder.write_json(folder / "config.json", config)
    assert octavo.models.load(folder).config.labels == 2


def test_no_rows(folder: Path) -> None:
    model = octavo.models.load(folder)
    rest = () if model.task == "SequenceClassification" else (4,)
    shape = (0, *rest, model.config.labels)
    assert model.logits(np.zeros((0, 4), np.int64)).shape == shape


def test_refused(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model")
    plain = write_folder(tmp_path / "plain", CONFIGS["bert"], random_tensors(CONFIGS["bert"]))
    with pytest.raises(ValueError, match="expected a sequence classifier, got a BertModel without"):
        octavo.models.load(plain).classify([[1, 2]])
    with pytest.raises(ValueError, match=r"expected one of .*, got a BertModel without a head"):
        octavo.models.load(plain).logits([[1, 2]])
    config = octavo.io.folder.read_json(folder / "config.json")
    config["id2label"]["3"] = "another"
    octavo.io.folder.write_json(folder / "config.json", config)
    with pytest.raises(
        ValueError, match=r"classifier.weight' has shape \(3, 32\), .* asks for \(4, 32\)"
    ):
        octavo.models.load(folder)


def test_a_model_of_masked_words_keeps_its_head(tmp_path: Path) -> None:
    """A classifier that comes with an adapter reads it; without one there is no place for that."""
    config = CONFIGS["modernbert"] | {"architectures": ["ModernBertForMaskedLM"]}
    tensors = {f"model.{name}": value for name, value in random_tensors(config).items()}
    rng = np.random.default_rng(0)
    tensors["head.dense.weight"] = rng.standard_normal((32, 32)).astype(np.float32)
    tensors["head.norm.weight"] = np.ones(32, np.float32)
    tensors["decoder.bias"] = np.zeros(100, np.float32)
    with pytest.warns(UserWarning, match=r"place for it: 'decoder' \(1\)$"):
        model = octavo.models.load(write_folder(tmp_path / "model", config, tensors))
    ids, mask = batch()
    data = {"input_ids": ids, "attention_mask": mask}
    for recipe in ("int8-static", "int8-gptq", "int8-smooth"):
        small = octavo.compress(model, recipe, calibration=data)
        small.save(tmp_path / "small")
        again = octavo.models.load(tmp_path / "small")
        assert again.head.dense.kind == "int8"
        np.testing.assert_array_equal(again.head(again(ids, mask)), small.head(small(ids, mask)))
    pair = octavo.lora.LowRank(np.ones((2, 32), "f"), np.zeros((96, 2), "f"), 1.0)
    weights = {"weight": rng.standard_normal((3, 32)).astype("f"), "bias": np.zeros(3, "f")}
    adapter = octavo.lora.Adapter(
        {"peft_type": "LORA", "r": 2, "target_modules": ["Wqkv"], "task_type": "SEQ_CLS"},
        {"model.layers.1.attn.Wqkv": pair},
        {"classifier": weights},
    )
    wanted = model.head(model(ids, mask)[:, 0]) @ weights["weight"].T
    model.load_adapter(adapter)
    np.testing.assert_allclose(model.logits(ids, mask), wanted, atol=1e-4)
    tensors = {name: value for name, value in tensors.items() if name.startswith("model.")}
    bare = octavo.models.load(write_folder(tmp_path / "bare", config, tensors))
    with pytest.raises(ValueError, match="layer 'classifier' reads a head, which is missing"):
        bare.load_adapter(adapter)


def test_what_has_no_place_is_named(tmp_path: Path) -> None:
    """A head for masked words, TinyBERT's projections; a classifier whose pooler is missing."""
    tensors = {f"bert.{name}": value for name, value in random_tensors(CONFIGS["bert"]).items()}
    others = ("cls.predictions.bias", "cls.predictions.decoder.weight", "fit_denses.0.weight")
    tensors |= {name: np.zeros((2, 2), np.float32) for name in others}
    folder = write_folder(tmp_path / "model", CONFIGS["bert"], tensors)
    with pytest.warns(UserWarning, match=r"left out, .* it: 'cls' \(2\), 'fit_denses' \(1\)$"):
        octavo.models.load(folder)
    folder = write_classifier(tmp_path / "classifier")
    config = octavo.io.folder.read_json(folder / "config.json")
    tensors = {
        name: value
        for name, value in safetensors.numpy.load_file(folder / "model.safetensors").items()
        if "pooler" not in name
    }
    write_folder(folder, config, tensors)
    with pytest.warns(UserWarning, match=r"left out, .* place for it: 'classifier' \(2\)$"):
        model = octavo.models.load(folder)
    assert model.task == ""
    model.save(tmp_path / "saved")
    assert octavo.models.load(tmp_path / "saved").config.task == ""
