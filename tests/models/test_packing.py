# SPDX-License-Identifier: Apache-2.0
"""Batches run without their padding, in slices; no row's bits depend on its company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.models import packing
from reference import assert_same_bits

LENGTHS = (9, 0, 1, 12, 3, 12, 5)


def batch(prefix: bool) -> tuple[Any, Any]:
    """Rows of these lengths; without `prefix` there is padding between tokens."""
    ids = np.random.default_rng(5).integers(4, 60, (len(LENGTHS), 12))
    mask = np.arange(12) < np.array(LENGTHS)[:, None]
    if not prefix:
        mask[3, [2, 3, 7]] = mask[0, 0] = False
    return ids, mask


def write_mpnet(folder: Path) -> Path:
    """Write BERT's tensors under MPNet's names, and biases of distances."""
    names = {"self.query": "attn.q", "self.key": "attn.k", "self.value": "attn.v"}
    names |= {"output.dense": "attn.o", "output.LayerNorm": "LayerNorm"}
    tensors = model_files.random_tensors(model_files.BERT)
    del tensors["embeddings.token_type_embeddings.weight"]
    for old, new in names.items():
        tensors = {
            name.replace(f"attention.{old}", f"attention.{new}"): values
            for name, values in tensors.items()
        }
    bias = np.random.default_rng(1).normal(0, 2, (32, 4)).astype(np.float32)
    tensors["encoder.relative_attention_bias.weight"] = bias
    config = model_files.BERT | {"model_type": "mpnet", "pad_token_id": 1}
    return model_files.write_folder(folder, config, tensors)


@pytest.fixture(params=["bert", "distilbert", "mpnet", "modernbert"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "mpnet":
        return write_mpnet(tmp_path / "mpnet")
    return model_files.write_random(tmp_path / request.param, request.param)


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("prefix", [True, False])
def test_rows_stand_alone(
    folder: Path, prefix: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = octavo.compress(folder)
    model.attention_precision = precision
    ids, mask = batch(prefix)
    expected = np.zeros((*ids.shape, 32), np.float32)
    for row, kept in enumerate(mask):
        if kept.any():
            # What blocks compute of padded rows, one by one.
            states = model.forward(ids[row : row + 1], kept[None], None)
            expected[row][kept] = states[0][kept]
    for limit in (512, 20, 1):
        monkeypatch.setattr(packing, "SLICE_TOKENS", limit)
        assert_same_bits(model(ids, mask), expected)
        order = np.random.default_rng(limit).permutation(len(ids))
        assert_same_bits(model(ids[order], mask[order]), expected[order])


def test_slices_without_padding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (ids, mask) = octavo.compress(folder), batch(True)
    expected = model.forward(ids, None, None)
    for given in (None, mask | True):
        for limit in (512, 30, 1):
            monkeypatch.setattr(packing, "SLICE_TOKENS", limit)
            assert_same_bits(model(ids, given), expected)


def test_float_models_agree_to_rounding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (ids, mask) = octavo.models.load(folder), batch(False)
    expected = np.where(mask[..., None], model.forward(ids, mask, None), np.float32(0))
    for limit in (512, 20):
        monkeypatch.setattr(packing, "SLICE_TOKENS", limit)
        np.testing.assert_allclose(model(ids, mask), expected, atol=2e-5)


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_a_choice_of_precision_is_saved(folder: Path, tmp_path: Path, name: str) -> None:
    model, (ids, _) = octavo.models.load(folder), batch(True)
    assert model.attention_precision == "auto"
    usual = model(ids)
    model.attention_precision = name
    model.save(tmp_path / "saved")
    again = octavo.models.load(tmp_path / "saved")
    assert again.attention_precision == name
    assert_same_bits(again(ids), model(ids))
    assert np.array_equal(model(ids), usual) == (name == "float32")
    recipe = {"quantize": {"dtype": "int8", "attention": name}}
    for more in ({}, {"equalize": True}):
        made = octavo.compress(folder, {"quantize": recipe["quantize"] | more})
        assert made.attention_precision == name
    with pytest.raises(ValueError, match="attention_precision: expected"):
        model.attention_precision = "int4"
    model._attentions()[0].precision = "auto"
    assert model.attention_precision == "mixed"
    with pytest.raises(ValueError, match="attention_precision: expected one for all blocks"):
        model.save(tmp_path / "mixed")
    config = tmp_path / "saved" / "config.json"
    config.write_text(config.read_text().replace(f'"{name}"', '"half"', 1))
    with pytest.raises(ValueError, match="attention_precision is"):
        octavo.models.load(tmp_path / "saved")
