# SPDX-License-Identifier: Apache-2.0
"""Calibration data: every form and file gives the same batches; what is wrong is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.data.batches import ROWS, Batches, batches_of

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

TEXT = ["the a of", "a and the .", "of", "the , the , the .", "unknown words here"]


@pytest.fixture
def model(tmp_path: Path) -> Encoder:
    folder = model_files.write_random(tmp_path / "model")
    model_files.write_tokenizer(folder)
    return octavo.models.load(folder)


def rows_of(batches: Batches) -> list[list[int]]:
    """The tokens of every row, without padding."""
    return sorted(
        row[kept].tolist()
        for batch in batches
        for row, kept in zip(batch.ids, batch.mask, strict=True)
    )


class Reader:
    """A calibration data reader as ONNX Runtime has it."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.passes = items, 1
        self.left = list(items)

    def get_next(self) -> Any:
        return self.left.pop(0) if self.left else None


class Rewinding(Reader):
    def rewind(self) -> None:
        self.left = list(self.items)
        self.passes += 1


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
        lambda: iter(TEXT),
        lambda: ([np.array(row)] for row in rows),
        lambda: [{"input_ids": np.array([row])} for row in rows],
        iter(TEXT),
        [TEXT[:2], TEXT[2:]],
        octavo.data.Dataset(list(enumerate(TEXT)), lambda pair: pair[1]),
        octavo.data.Dataset(
            lambda: ({"ids": row, "label": 1} for row in rows), lambda row: row["ids"]
        ),
        Reader([{"input_ids": np.array([row])} for row in rows]),
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
    (
        "number",
        3,
        "calibration: expected a file, sentences, batches of inputs, or a function .* got int",
    ),
    ("suffix", "sentences.csv", "expected a .npz, .txt or .jsonl file, got sentences.csv"),
    ("no ids", {"attention_mask": [[1]]}, "calibration: expected the field input_ids"),
    ("field", {"input_ids": [[1]], "labels": [1]}, "calibration: expected the fields input_ids"),
    ("range", [[[1, 100]]], r"calibration\[0\]: input_ids: expected values in \[0, 99\], got 100"),
    ("floats", [np.ones((1, 2))], r"calibration\[0\]: input_ids: expected integers"),
    ("long", [[[1] * 25]], r"calibration\[0\]: input_ids: 25 tokens, the model has 24"),
    ("mask", [([[1, 2]], [[1]])], r"calibration\[0\]: attention_mask: expected shape"),
    ("parts", [(1, 2, 3, 4)], r"calibration\[0\]: expected input_ids, attention_mask, .* 4 parts"),
    ("mixed", ["the", [[1]]], r"calibration\[1\]: expected a sentence like those before it, got"),
    ("mixed too", [[[1]], "the"], r"calibration\[1\]: input_ids: expected an array, got str"),
    ("function", lambda: 3, "calibration: expected a function that yields inputs, it returned int"),
]


@pytest.mark.parametrize(("data", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_data(model: Encoder, data: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        list(batches_of(data, model))


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
    model.files = {}
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json"):
        batches_of(TEXT, model)
    model.source = None
    with pytest.raises(ValueError, match="was not loaded from a folder; pass input_ids"):
        batches_of(TEXT, model)


def test_a_data_loader(model: Encoder) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    data = torch.utils.data
    ids = torch.randint(1, 100, (10, 6))
    mask = (torch.arange(6) < torch.arange(1, 11)[:, None]).long()
    expected = sorted(row[: min(6, n + 1)].tolist() for n, row in enumerate(ids))
    pairs = data.DataLoader(data.TensorDataset(ids, mask), batch_size=4)
    dicts = data.DataLoader(
        [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)],
        batch_size=3,
    )
    for loader in (pairs, dicts):
        batches = batches_of(loader, model)
        assert batches.known_length is None
        assert rows_of(batches) == expected
        assert rows_of(batches) == expected
        assert batches.tokens == int(mask.sum())
    rows = sorted(row.tolist() for row in ids)
    assert rows_of(batches_of(ids, model)) == rows
    labelled = data.DataLoader([{"input_ids": i, "labels": 0} for i in ids])
    with pytest.raises(ValueError, match=r"calibration\[0\]: expected the fields .* transform_fn"):
        list(batches_of(labelled, model))


def test_streams_are_read_anew_or_kept(model: Encoder) -> None:
    passes: list[int] = []

    def yielded() -> Any:
        passes.append(0)
        for size in range(1, 20):
            passes[-1] += 1
            yield [np.full(size, 5)]

    streamed = batches_of(yielded, model)
    assert passes == []
    assert len(streamed) == len(list(streamed)) == streamed.known_length
    assert passes == [19, 19]

    kept = batches_of(yielded(), model)
    assert passes == [19, 19, 19]
    assert rows_of(kept) == rows_of(kept) == rows_of(streamed)

    passes.clear()
    once = batches_of(yielded(), model, once=True)
    assert passes == []
    assert rows_of(once) == rows_of(kept)
    assert once.tokens == sum(range(1, 20))
    assert passes == [19]

    items = [{"input_ids": np.array([[1, 2]])}, {"input_ids": np.array([3])}]
    rewinding = Rewinding(items)
    batches = batches_of(rewinding, model)
    assert rows_of(batches) == rows_of(batches) == [[1, 2], [3]]
    assert rewinding.passes == 2
    reader = batches_of(Reader(items), model)
    assert rows_of(reader) == rows_of(reader) == [[1, 2], [3]]


def test_single_inputs_go_together(model: Encoder) -> None:
    """One by one, they would cost several times as much."""
    types = [np.arange(size) % 2 for size in range(1, 21)]
    items = [(np.arange(size) + 1, np.ones(size), types[size - 1]) for size in range(1, 20)]
    (batch,) = batches_of(lambda: [*items, (np.arange(20),)], model)
    assert batch.ids.shape == (20, 20)
    assert batch.types is not None
    for row, size in enumerate(range(1, 20)):
        np.testing.assert_array_equal(batch.ids[row, :size], items[row][0])
        np.testing.assert_array_equal(batch.types[row, :size], types[row])
        assert batch.mask[row].sum() == size
    assert not batch.types[19].any()


def test_many_single_inputs_become_batches_of_few_rows(model: Encoder) -> None:
    lengths = [1 + index % 24 for index in range(8 * ROWS + 5)]
    batches = list(batches_of(lambda: ([np.full(size, 7)] for size in lengths), model))
    assert max(len(batch.ids) for batch in batches) <= ROWS
    assert sorted(len(row) for row in rows_of(batches)) == sorted(lengths)


def test_items_are_named_in_errors(model: Encoder) -> None:
    def yields(*items: Any) -> Any:
        return lambda: iter(items)

    good = np.array([[1, 2]])
    bad: list[tuple[Any, str]] = [
        (np.array([[1, 100]]), r"calibration\[1\]: input_ids: expected values in \[0, 99\]"),
        (np.array([[1.0, np.nan]]), r"calibration\[1\]: input_ids: expected integers, got float"),
        ([good, np.ones((1, 3))], r"calibration\[1\]: attention_mask: expected shape"),
        (np.zeros((1, 1, 1), int), r"calibration\[1\]: input_ids: expected shape"),
        ({"ids": good}, r"calibration\[1\]: expected the fields input_ids"),
        (None, r"calibration\[1\]: input_ids: expected an array, got NoneType"),
    ]
    for item, message in bad:
        with pytest.raises((TypeError, ValueError), match=message):
            list(batches_of(yields(good, item), model))
    with pytest.raises(ValueError, match="expected at least one token, got none"):
        list(batches_of(yields(), model))
    with pytest.raises(TypeError, match="transform_fn: expected a function, got int"):
        octavo.data.Dataset([1], 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"source: expected a file, .* got int"):
        octavo.data.Dataset(3)


def test_what_goes_wrong_in_the_function_stays_itself(model: Encoder) -> None:
    def fails() -> Any:
        yield [np.array([1])]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(batches_of(fails, model))
