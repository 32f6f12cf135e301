# SPDX-License-Identifier: Apache-2.0
"""Sequence classifiers: logits, what compression leaves alone, files that transformers reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from model_files import CLASSIFIERS, CONFIGS, batch, random_tensors, write_classifier, write_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=CLASSIFIERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "model", request.param)


def transformers_logits(folder: Path, ids: Any, mask: Any) -> Any:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        whole = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        return model(**whole).logits.numpy()


def test_logits(folder: Path) -> None:
    ids, mask = batch()
    model = octavo.models.load(folder)
    logits = model.classify(ids, mask)
    assert logits.shape == (len(ids), 3)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, transformers_logits(folder, ids, mask), atol=1e-4)


def test_the_output_layer_stays_float_and_is_not_pruned(folder: Path, tmp_path: Path) -> None:
    model = octavo.models.load(folder)
    ids, mask = batch()
    for recipe in ("int8", "sparse50-int8"):
        small = octavo.compress(model, recipe)
        assert isinstance(small.classifier, octavo.nn.FloatLinear)
        assert np.array_equal(small.classifier.weight, model.classifier.weight)
        small.save(tmp_path / "small")
        again = octavo.models.load(tmp_path / "small")
        assert np.array_equal(again.classify(ids, mask), small.classify(ids, mask))
    calibrated = octavo.compress(
        model, "sparse50", calibration={"input_ids": ids, "attention_mask": mask}
    )
    assert np.array_equal(calibrated.classifier.weight, model.classifier.weight)


def test_transformers_reads_what_was_saved(folder: Path, tmp_path: Path) -> None:
    model = octavo.models.load(folder)
    model.save(tmp_path / "copy")
    ids, mask = batch()
    expected = model.classify(ids, mask)
    np.testing.assert_allclose(
        transformers_logits(tmp_path / "copy", ids, mask), expected, atol=1e-4
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
    assert model.classify(np.zeros((0, 4), np.int64)).shape == (0, 3)


def test_refused(folder: Path, tmp_path: Path) -> None:
    plain = write_folder(tmp_path / "plain", CONFIGS["bert"], random_tensors(CONFIGS["bert"]))
    with pytest.raises(ValueError, match="expected a sequence classifier, got a BertModel without"):
        octavo.models.load(plain).classify([[1, 2]])
    config = octavo.io.folder.read_json(folder / "config.json")
    config["id2label"]["3"] = "another"
    octavo.io.folder.write_json(folder / "config.json", config)
    with pytest.raises(
        ValueError, match=r"classifier.weight' has shape \(3, 32\), .* asks for \(4, 32\)"
    ):
        octavo.models.load(folder)
