# SPDX-License-Identifier: Apache-2.0
"""Calling a model: checked arguments, padding that changes nothing, swapped layers."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import _backend

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder


@pytest.fixture(params=["bert", "distilbert", "modernbert"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return model_files.write_random(tmp_path / request.param, request.param)


@pytest.fixture
def model(folder: Path) -> Encoder:
    return octavo.models.load(folder)


@pytest.fixture
def bert(tmp_path: Path) -> Encoder:
    return octavo.models.load(model_files.write_random(tmp_path))


def test_shapes_and_types(model: Encoder) -> None:
    ids, mask = model_files.batch()
    hidden, vectors = model(ids, mask), model.encode(ids, mask)
    assert hidden.shape == (4, 12, 32)
    assert vectors.shape == (4, 32)
    assert hidden.dtype == vectors.dtype == np.float32


def test_arguments_in_other_forms(model: Encoder) -> None:
    ids, mask = model_files.batch()
    expected = model.encode(ids, mask)
    for other_ids, other_mask in (
        (ids.tolist(), mask.tolist()),
        (ids.astype(np.int32), mask.astype(bool)),
        (ids.astype(np.uint8), mask.astype(np.float32)),
        (ids.astype(">i8"), mask.astype(">i4")),
        (np.asfortranarray(ids), np.repeat(mask, 2, axis=1)[:, ::2]),
    ):
        np.testing.assert_array_equal(model.encode(other_ids, other_mask), expected)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_do(model: Encoder, shape: tuple[int, int]) -> None:
    ids = np.zeros(shape, np.int64)
    assert model(ids).shape == (*shape, 32)
    np.testing.assert_array_equal(model.encode(ids, ids == 0), np.zeros((shape[0], 32)))


def test_a_row_without_tokens_gives_zeros(model: Encoder) -> None:
    vectors = model.encode([[1, 2], [3, 4]], [[0, 0], [1, 1]])
    assert not vectors[0].any()
    assert vectors[1].any()


IDS = np.ones((2, 3), np.int64)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_ids": [1, 2]}, ValueError, r"input_ids: expected shape .*got \(2,\)"),
        ({"input_ids": IDS[None]}, ValueError, "input_ids: expected shape"),
        ({"input_ids": IDS * 1.0}, TypeError, "input_ids: expected integers, got float64"),
        ({"input_ids": IDS.astype(object)}, TypeError, "input_ids: "),
        ({"input_ids": None}, TypeError, "input_ids: expected an array"),
        ({"input_ids": -IDS}, ValueError, r"input_ids: expected values in \[0, 99\], got -1"),
        ({"input_ids": IDS * 100}, ValueError, r"input_ids: expected values in \[0, 99\], got 100"),
        ({"input_ids": np.ones((1, 25), int)}, ValueError, "25 tokens, the model has 24 positions"),
        ({"attention_mask": [1, 1, 1]}, ValueError, "attention_mask: expected shape"),
        ({"attention_mask": IDS[:, :2]}, ValueError, r"attention_mask: .*\(2, 3\), got \(2, 2\)"),
        ({"attention_mask": IDS * 2}, ValueError, "attention_mask: expected only 0 and 1"),
        ({"attention_mask": IDS * np.nan}, ValueError, "attention_mask: expected only 0 and 1"),
        ({"attention_mask": IDS * 1j}, TypeError, "attention_mask: expected bool or 0/1"),
        ({"token_type_ids": IDS * 2}, ValueError, r"token_type_ids: expected values in \[0, 1\]"),
        ({"token_type_ids": IDS[:1]}, ValueError, "token_type_ids: expected shape"),
    ],
)
def test_bad_arguments(
    bert: Encoder, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    values = {"input_ids": IDS} | arguments
    for call in (lambda: bert(**values), lambda: bert.encode(values)):
        with pytest.raises(error, match=message):
            call()


def test_a_text_is_no_ids(bert: Encoder) -> None:
    with pytest.raises(TypeError, match="input_ids: expected an array, got str"):
        bert("text")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json when the model was loaded"):
        bert.encode("text")


def test_distilbert_has_no_token_types(tmp_path: Path) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path, "distilbert"))
    with pytest.raises(ValueError, match="token_type_ids: a distilbert model has no token types"):
        model(IDS, token_type_ids=IDS)


def test_padding_and_batch_mates_change_no_bit(folder: Path) -> None:
    small = octavo.compress(folder)
    ids, mask = model_files.batch()
    together = small.encode(ids, mask)
    other_pad = np.where(mask, ids, 99)
    np.testing.assert_array_equal(small.encode(other_pad, mask), together)
    for row, length in enumerate(mask.sum(axis=1)):
        alone = ids[row : row + 1, :length]
        np.testing.assert_array_equal(small.encode(alone)[0], together[row])
        hidden = small(ids, mask)[row, :length]
        np.testing.assert_array_equal(small(alone)[0], hidden)


def test_same_bits_on_every_tier(folder: Path, isa: str) -> None:
    ids, mask = model_files.batch()
    here = octavo.compress(folder)(ids, mask)
    with _backend.use("numpy"):
        there = octavo.compress(folder)(ids, mask)
    np.testing.assert_array_equal(here, there)


def test_layers_are_swapped_by_assignment(bert: Encoder) -> None:
    ids, mask = model_files.batch()
    before = bert(ids, mask)
    old = bert.encoder.layer[0].intermediate.dense
    bert.encoder.layer[0].intermediate.dense = octavo.Linear.from_float(
        old.weight, old.bias, activation=old.activation
    )
    after = bert(ids, mask)
    assert not np.array_equal(after, before)
    np.testing.assert_allclose(after, before, atol=0.2)
    bert.encoder.layer[0].intermediate.dense = old
    np.testing.assert_array_equal(bert(ids, mask), before)


def test_layers_have_the_names_of_the_checkpoint(model: Encoder, folder: Path) -> None:
    names = octavo.io.TensorFile(folder / "model.safetensors")
    assert set(model.state_dict()) == set(names)


def test_copies_and_pickles(model: Encoder) -> None:
    ids, mask = model_files.batch()
    expected = model.encode(ids, mask)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.encode(ids, mask), expected)
