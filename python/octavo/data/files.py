# SPDX-License-Identifier: Apache-2.0
"""Files of sentences or token ids, with or without labels: the one reader of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo._files import read_bytes
from octavo._text import decoded, lines_of, parsed_json, shown
from octavo.data.npz import read_npz

FIELDS = ("input_ids", "attention_mask", "token_type_ids")

_Lines = list[tuple[int, str]]


@dataclass(frozen=True)
class Content:
    """What a file holds: sentences, or arrays of token ids and what goes with them; and labels."""

    sentences: list[str] | None = None
    arrays: dict[str, Any] | None = None
    labels: list[Any] | None = None


def read_file(path: Path, name: str, *, labelled: bool) -> Content:
    """Return what a file holds.

    Parameters
    ----------
    path : pathlib.Path
        ``.txt`` with a sentence a line; ``.jsonl`` with ``{"text": ...}`` or
        ``{"input_ids": ...}`` a line, perhaps with ``"label"``; ``.npz`` with arrays; and, of
        labelled data, ``.tsv`` with a label, a tab and a sentence a line.
    name : str
        Of the argument, for messages.
    labelled : bool
        Whether rows may have labels; if not, those of ``.jsonl`` are not looked at.
    """
    known = (".tsv", ".jsonl", ".txt", ".npz") if labelled else (".npz", ".txt", ".jsonl")
    if path.suffix not in known:
        kinds = f"{', '.join(known[:-1])} or {known[-1]}"
        raise ValueError(f"{name}: expected a {kinds} file, got {path}")
    if path.suffix == ".npz":
        return _from_npz(path, labelled)
    lines = _lines_of(path)
    if path.suffix == ".txt":
        return Content([line.strip() for _, line in lines])
    if path.suffix == ".tsv":
        return _from_table(path, lines)
    return _from_json_lines(path, lines, labelled)


def _lines_of(path: Path) -> _Lines:
    """Return the lines that are not blank, each with its number."""
    try:
        lines = lines_of(decoded(read_bytes(path)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _from_npz(path: Path, labelled: bool) -> Content:
    arrays = read_npz(path)
    labels = arrays.pop("labels").reshape(-1).tolist() if labelled and "labels" in arrays else None
    return Content(arrays=arrays, labels=labels)


def _from_table(path: Path, lines: _Lines) -> Content:
    labels, texts = [], []
    for number, line in lines:
        label, tab, text = line.partition("\t")
        if not tab or not label.strip():
            where = f"{path}, line {number}"
            raise ValueError(
                f"{where}: expected a label, a tab and a sentence, got {shown(line[:60])}"
            )
        labels.append(label.strip())
        texts.append(text.strip())
    return Content(texts, labels=labels)


def _from_json_lines(path: Path, lines: _Lines, labelled: bool) -> Content:
    """Read objects with a text or with input_ids, all of one kind."""
    texts: list[str] = []
    rows: list[dict[str, list[int]]] = []
    labels: list[Any] = []
    for number, line in lines:
        where = f"{path}, line {number}"
        try:
            item = parsed_json(line)
        except ValueError as error:
            raise ValueError(f"{where}: not JSON: {error}") from None
        if not isinstance(item, dict) or ("text" in item) == ("input_ids" in item):
            more = ', perhaps with "label"' if labelled else ""
            raise ValueError(f'{where}: expected {{"text": ...}} or {{"input_ids": ...}}{more}')
        if "input_ids" in item:
            rows.append(_json_row(item, where))
        elif isinstance(item["text"], str):
            texts.append(item["text"])
        else:
            raise ValueError(f"{where}: text: expected a string, got {shown(item['text'])}")
        if texts and rows:
            raise ValueError(f"{where}: expected text or input_ids in all lines, got both")
        label = item.get("label") if labelled else None
        if label is not None and type(label) not in (int, str):
            raise ValueError(f"{where}: label: expected a number or a name, got {shown(label)}")
        labels.append(label)
    missing = labels.count(None)
    if 0 < missing < len(labels):
        raise ValueError(f"{path}: expected labels in all lines or in none, {missing} lack them")
    found = None if missing else labels
    return Content(arrays=_padded(rows), labels=found) if rows else Content(texts, labels=found)


def _json_row(item: dict[str, Any], where: str) -> dict[str, list[int]]:
    """Return the lists of one object, all of one length."""
    row = {key: item[key] for key in FIELDS if key in item}
    for key, values in row.items():
        if not isinstance(values, list) or not all(map(_is_int64, values)):
            raise ValueError(f"{where}: {key}: expected a list of integers of 64 bits")
        if len(values) != len(row["input_ids"]):
            wanted = len(row["input_ids"])
            raise ValueError(f"{where}: {key}: expected {wanted} values, got {len(values)}")
    row.setdefault("attention_mask", [1] * len(row["input_ids"]))
    return row


def _is_int64(value: object) -> bool:
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def _padded(rows: list[dict[str, list[int]]]) -> dict[str, npt.NDArray[np.int64]]:
    """Put rows of different lengths into arrays, zeros behind the short ones."""
    longest = max(len(row["input_ids"]) for row in rows)
    keys = [key for key in FIELDS if any(key in row for row in rows)]
    arrays = {key: np.zeros((len(rows), longest), np.int64) for key in keys}
    for index, row in enumerate(rows):
        for key, values in row.items():
            arrays[key][index, : len(values)] = values
    return arrays
