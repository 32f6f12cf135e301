# SPDX-License-Identifier: Apache-2.0
"""Calibration data: every form and file gives the same batches; what is wrong is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.compression.calibration import ROWS, Batch, batches_of

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

TEXT = ["the a of", "a and the .", "of", "the , the , the .", "unknown words here"]


@pytest.fixture
def model(tmp_path: Path) -> Encoder:
    folder = model_files.write_random(tmp_path / "model")
    model_files.write_tokenizer(folder)
    return octavo.models.load(folder)


def rows_of(batches: list[Batch]) -> list[list[int]]:
    """The tokens of every row, without padding."""
    return sorted(
        row[kept].tolist()
        for batch in batches
        for row, kept in zip(batch.ids, batch.mask, strict=True)
    )


def test_every_form_says_the_same(model: Encoder, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="needs tokenizers")
    words = {"the": 2, "a": 3, "and": 4, ".": 5, ",": 6, "of": 7}
    rows = [[words.get(word, 1) for word in line.split()] for line in TEXT]
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    (tmp_path / "a.txt").write_text("\n\n".join(TEXT) + "\n", encoding="utf-8")
    objects = [{"text": line} for line in TEXT]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, objects)), encoding="utf-8")
    objects = [{"input_ids": row} for row in rows]  # type: ignore[misc]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, objects)), encoding="utf-8")
    np.savez(tmp_path / "d.npz", input_ids=ids, attention_mask=mask)
    forms: list[Any] = [
        TEXT,
        tuple(TEXT),
        {"input_ids": ids, "attention_mask": mask},
        [{"input_ids": ids, "attention_mask": mask}],
        [(ids, mask)],
        [[row] for row in rows],
        (np.array([row]) for row in rows),
        tmp_path / "a.txt",
        str(tmp_path / "b.jsonl"),
        tmp_path / "c.jsonl",
        tmp_path / "d.npz",
    ]
    for form in forms:
        assert rows_of(batches_of(form, model)) == sorted(rows)


def test_batches_are_small_and_without_needless_padding(model: Encoder) -> None:
    ids, mask = model_files.batch(lengths=tuple([3] * 50 + [20] * 50))
    types = (ids % 2) * mask
    batches = batches_of([(ids, mask, types)], model)
    assert all(len(batch.ids) <= ROWS for batch in batches)
    assert {batch.ids.shape[1] for batch in batches} == {3, 20}
    assert sum(int(batch.mask.sum()) for batch in batches) == mask.sum()
    for batch in batches:
        assert batch.types is not None
        np.testing.assert_array_equal(batch.types, (batch.ids % 2) * batch.mask)


def test_rows_without_tokens_are_left_out(model: Encoder) -> None:
    ids, mask = model_files.batch()
    mask[1] = 0
    found = batches_of({"input_ids": ids, "attention_mask": mask}, model)
    assert sum(len(batch.ids) for batch in found) == len(ids) - 1
    for nothing in ([], {"input_ids": ids, "attention_mask": 0 * mask}, np.zeros((0, 4), int)):
        with pytest.raises(ValueError, match="calibration: expected at least one token, got none"):
            batches_of(nothing, model)


def test_files_with_token_types(model: Encoder, tmp_path: Path) -> None:
    lines = [
        {"input_ids": [5, 6, 7], "token_type_ids": [0, 1, 1]},
        {"input_ids": [8], "attention_mask": [1]},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    (batch,) = batches_of(path, model)
    assert batch.ids.tolist() == [[8, 0, 0], [5, 6, 7]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.types is not None
    assert batch.types.tolist() == [[0, 0, 0], [0, 1, 1]]


BAD: list[tuple[str, Any, str]] = [
    ("number", 3, "calibration: expected a file, sentences, or batches of input_ids, got int"),
    ("suffix", "sentences.csv", "expected a .npz, .txt or .jsonl file, got sentences.csv"),
    ("no ids", {"attention_mask": [[1]]}, "calibration: expected the field input_ids"),
    ("field", {"input_ids": [[1]], "labels": [1]}, "calibration: expected the fields input_ids"),
    ("range", [[[1, 100]]], r"calibration\[0\]: input_ids: expected values in \[0, 99\], got 100"),
    ("floats", [np.ones((1, 2))], r"calibration\[0\]: input_ids: expected integers"),
    ("long", [[[1] * 25]], r"calibration\[0\]: input_ids: 25 tokens, the model has 24"),
    ("mask", [([[1, 2]], [[1]])], r"calibration\[0\]: attention_mask: expected shape"),
    ("parts", [(1, 2, 3, 4)], r"calibration\[0\]: expected input_ids, attention_mask, .* 4 parts"),
    ("mixed", ["the", [[1]]], r"calibration\[0\]: input_ids: expected an array, got str"),
]


@pytest.mark.parametrize(("data", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_data(model: Encoder, data: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        batches_of(data, model)


LINES = [
    ("{", "line 1: not JSON"),
    ("[1]", 'line 1: expected {"text": ...} or {"input_ids": ...}'),
    ('{"text": "a", "input_ids": [1]}', 'line 1: expected {"text": ...} or'),
    ('{"text": "a"}\n\n{"input_ids": [1]}', "line 3: expected text or input_ids in all lines"),
    ('{"text": 3}', "line 1: text: expected a string, got 3"),
    ('{"input_ids": "a"}', "line 1: input_ids: expected a list of integers"),
    ('{"input_ids": [1.5]}', "line 1: input_ids: expected a list of integers"),
    ('{"input_ids": [1], "attention_mask": [1, 1]}', "attention_mask: expected 1 values, got 2"),
]


@pytest.mark.parametrize(("text", "message"), LINES)
def test_bad_lines(model: Encoder, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.jsonl, line") as caught:
        batches_of(path, model)
    assert message in str(caught.value)


def test_bad_files(model: Encoder, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"x.npz: not an .npz file of plain arrays"):
        batches_of(tmp_path / "x.npz", model)
    np.savez(tmp_path / "o.npz", input_ids=np.array([[1], [2, 3]], object))
    with pytest.raises(ValueError, match=r"o.npz: not an .npz file of plain arrays"):
        batches_of(tmp_path / "o.npz", model)
    (tmp_path / "x.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"x.txt: expected UTF-8, got byte 3"):
        batches_of(tmp_path / "x.txt", model)
    with pytest.raises(FileNotFoundError):
        batches_of(tmp_path / "absent.txt", model)


def test_sentences_need_a_tokenizer(model: Encoder) -> None:
    pytest.importorskip("tokenizers", reason="needs tokenizers")
    assert model.source is not None
    (model.source / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json"):
        batches_of(TEXT, model)
    model.source = None
    with pytest.raises(ValueError, match="was not loaded from a folder; pass input_ids"):
        batches_of(TEXT, model)
