# SPDX-License-Identifier: Apache-2.0
"""Batches run without their padding, in slices; no row's bits depend on its company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import model_files
import octavo
import ragged
from octavo.models import packing
from reference import assert_same_bits


@pytest.fixture(params=["bert", "distilbert", "mpnet", "modernbert"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "mpnet":
        return model_files.write_mpnet(tmp_path / "mpnet")
    return model_files.write_random(tmp_path / request.param, request.param)


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("prefix", [True, False])
def test_rows_stand_alone(
    folder: Path, prefix: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = octavo.compress(folder)
    model.attention_precision = precision
    ids, mask = ragged.batch(prefix)
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
    model, (ids, mask) = octavo.compress(folder), ragged.batch(True)
    expected = model.forward(ids, None, None)
    for given in (None, mask | True):
        for limit in (512, 30, 1):
            monkeypatch.setattr(packing, "SLICE_TOKENS", limit)
            assert_same_bits(model(ids, given), expected)


def test_float_models_agree_to_rounding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (ids, mask) = octavo.models.load(folder), ragged.batch(False)
    expected = np.where(mask[..., None], model.forward(ids, mask, None), np.float32(0))
    for limit in (512, 20):
        monkeypatch.setattr(packing, "SLICE_TOKENS", limit)
        np.testing.assert_allclose(model(ids, mask), expected, atol=2e-5)


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_a_choice_of_precision_is_saved(folder: Path, tmp_path: Path, name: str) -> None:
    model, (ids, _) = octavo.models.load(folder), ragged.batch(True)
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
