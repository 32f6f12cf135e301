# SPDX-License-Identifier: Apache-2.0
"""`evaluate` and ``octavo evaluate``: numbers against NumPy, files, what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import cli
from octavo.algorithms.measures import cosines, sqnr_db

if TYPE_CHECKING:
    from pathlib import Path

SENTENCES = ["a b c", "d", "e f g h i", "a a", "c b", "h h h h"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = model_files.write_classifier(tmp_path / "float")
    model_files.write_tokenizer(path)
    return path


def rows(count: int = 70) -> dict[str, Any]:
    random = np.random.default_rng(3)
    ids = random.integers(1, 100, (count, 9))
    mask = (np.arange(9) < random.integers(1, 10, (count, 1))).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask}


def test_numbers(folder: Path) -> None:
    model = octavo.models.load(folder)
    small = octavo.compress(model)
    data = rows()
    exact, near = model.logits(data).argmax(1), small.logits(data).argmax(1)
    labels = np.where(np.arange(70) % 3, exact, 0)
    found = octavo.evaluation.evaluate(small, {**data, "labels": labels}, reference=model)
    vectors, small_vectors = model.encode(data), small.encode(data)
    assert (found.rows, found.accuracy_of) == (70, "classifier")
    assert found.accuracy == (near == labels).mean()
    assert found.reference_accuracy == (exact == labels).mean()
    assert found.agreement == (exact == near).mean()
    assert found.cosine_mean == pytest.approx(cosines(vectors, small_vectors).mean(), abs=1e-6)
    assert found.cosine_min == pytest.approx(cosines(vectors, small_vectors).min(), abs=1e-6)
    assert found.sqnr == pytest.approx(sqnr_db(vectors, small_vectors), abs=1e-3)
    alone = octavo.evaluation.evaluate(small, data)
    assert (alone.accuracy, alone.accuracy_of, alone.agreement, alone.sqnr) == (None,) * 4


def test_measures() -> None:
    a = np.array([[1, 0], [0, 2], [0, 0]], np.float32)
    assert cosines(a, np.array([[2, 0], [1, 1], [1, 1]], np.float32)) == pytest.approx(
        [1, np.sqrt(0.5), 0]
    )
    assert sqnr_db(a, a) == np.inf
    assert sqnr_db(0 * a, a) == -np.inf
    assert sqnr_db(a, np.float32(0.9) * a) == pytest.approx(20, abs=1e-4)


def test_a_probe(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    model = octavo.models.load(model_files.write_random(tmp_path / "plain"))
    train, test = rows(200), rows(60)
    labels = (model.encode(train)[:, 0] > 0).astype(int)
    wanted = (model.encode(test)[:, 0] > 0).astype(int)
    small = octavo.compress(model)
    seen: list[float] = []
    found = octavo.evaluation.evaluate(
        small,
        test,
        labels=wanted,
        reference=model,
        train=(train, labels),
        on_progress=lambda _, share: seen.append(share),
    )
    assert found.accuracy_of == "probe"
    assert found.accuracy is not None
    assert found.accuracy > 0.8
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] < 1


def test_a_file_of_ids_and_labels(folder: Path, tmp_path: Path) -> None:
    """The reader is the one of calibration data: rows of ids may differ in length."""
    rows = [[2, 7, 3], [2, 8, 9, 10, 3], [2, 3]]
    lines = [{"input_ids": ids, "label": label} for label, ids in enumerate(rows)]
    path = tmp_path / "ids.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    ids, mask = np.zeros((3, 5), np.int64), np.zeros((3, 5), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    expected = {"input_ids": ids, "attention_mask": mask, "labels": [0, 1, 2]}
    found = octavo.evaluation.evaluate(folder, path, reference=folder)
    assert found.rows == 3
    assert found.accuracy == octavo.evaluation.evaluate(folder, expected).accuracy
    assert found.cosine_min == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "named"])
def test_files(folder: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("tokenizers", reason="needs the extra `models`")
    path = tmp_path / ("data.tsv" if kind != "jsonl" else "data.jsonl")
    labels = [0, 1, 2, 0, 1, 2]
    named = [f"class {label}" if kind == "named" else label for label in labels]
    pairs = list(zip(named, SENTENCES, strict=True))
    lines = [f"{label}\t{text}" for label, text in pairs]
    if kind == "jsonl":
        lines = [json.dumps({"label": label, "text": text}) for label, text in pairs]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    expected = octavo.evaluation.evaluate(folder, SENTENCES, labels=labels)
    found = octavo.evaluation.evaluate(folder, path)
    assert found.accuracy == expected.accuracy
    assert found.rows == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no tab here", r"data.tsv, line 1: expected a label, a tab and a sentence"),
        ("0\ta\nx\tb", "data.tsv: label 1: expected one of .*'class 0'.* below 3, got 'x'"),
        ("7\ta", "label 0: expected .* a number below 3, got '7'"),
        ("-1\ta", "label 0: expected .* got '-1'"),
        ("\n\n", "data.tsv: expected at least one row, got none"),
    ],
)
def test_broken_lines(folder: Path, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "data.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        octavo.evaluation.evaluate(folder, path)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (3, {}, "data: expected a file, sentences or arrays, got int"),
        ([1, 2], {}, "data: expected a file, sentences or arrays, got other items"),
        ({"ids": [[1]]}, {}, "data: expected the arrays input_ids, .*, got 'ids'"),
        ({"attention_mask": [[1]]}, {}, "data: expected the array input_ids"),
        ({"input_ids": [1]}, {}, "data: input_ids: expected"),
        ({"input_ids": [[1]]}, {"labels": [0, 1]}, "labels: expected 1, one a row, got 2"),
        ({"input_ids": [[1]], "labels": [0]}, {"labels": [0]}, "labels: expected none"),
        ({"input_ids": [[1000]]}, {}, r"input_ids: expected values in \[0, 99\], got 1000"),
        ({"input_ids": [[1]]}, {"labels": [0.5]}, "label 0: expected .* got 0.5"),
        ({"input_ids": [[1]]}, {"reference": 5}, "reference: expected a model or a folder"),
        ({"input_ids": [[1]]}, {"train": ["a"]}, "train: expected labels, got none"),
        ("data.csv", {}, "expected a .tsv, .jsonl, .txt or .npz file, got data.csv"),
    ],
    ids=str,
)
def test_refused(folder: Path, data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        octavo.evaluation.evaluate(folder, data, **options)


def test_labels_without_a_head(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path / "plain")
    with pytest.raises(ValueError, match="train: expected labelled data, the model has no class"):
        octavo.evaluation.evaluate(folder, rows(3), labels=[0, 1, 1])


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("typer", reason="needs the extra `cli`")
    np.savez(tmp_path / "data.npz", **rows(20), labels=np.arange(20) % 3)
    octavo.compress(folder).save(tmp_path / "small")
    words = [str(tmp_path / "small"), "--data", str(tmp_path / "data.npz")]
    assert cli.main(["evaluate", *words, "--reference", str(folder)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("20 rows")
    for part in ("accuracy of the classifier", "points)", "same answer", "cosine", "SQNR"):
        assert part in text
    assert cli.main(["evaluate", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 20
    assert found["cosine_mean"] is None
    assert cli.main(["evaluate", str(tmp_path / "absent"), *words[1:]]) == 1
    assert "no such folder" in capsys.readouterr().err
