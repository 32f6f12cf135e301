# SPDX-License-Identifier: Apache-2.0
"""Calibration data in files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["FIELDS", "read_file"]

FIELDS = ("input_ids", "attention_mask", "token_type_ids")


def read_file(path: Path) -> Any:
    """Return the sentences of a ``.txt`` or ``.jsonl`` file, or a ``.jsonl`` or ``.npz``'s arrays.

    Raises
    ------
    ValueError, OSError
        If it is something else; the message names file and line.
    """
    if path.suffix == ".npz":
        return _from_npz(path)
    if path.suffix not in (".txt", ".jsonl"):
        raise ValueError(f"calibration: expected a .npz, .txt or .jsonl file, got {path}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, got byte {error.start}") from None
    if path.suffix == ".txt":
        return [line.strip() for line in lines if line.strip()]
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return _from_json_lines(path, numbered)


def _from_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (BadZipFile, ValueError, EOFError) as error:
        raise ValueError(f"{path}: not an .npz file of plain arrays: {error}") from None


def _from_json_lines(path: Path, lines: Iterable[tuple[int, str]]) -> Any:
    """Read objects with a text or with input_ids, all of one kind."""
    texts: list[str] = []
    rows: list[dict[str, list[int]]] = []
    for number, line in lines:
        where = f"{path}, line {number}"
        try:
            item = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{where}: not JSON: {error}") from None
        if not isinstance(item, dict) or ("text" in item) == ("input_ids" in item):
            raise ValueError(f'{where}: expected {{"text": ...}} or {{"input_ids": ...}}')
        if "input_ids" in item:
            rows.append(_json_row(item, where))
        elif isinstance(item["text"], str):
            texts.append(item["text"])
        else:
            raise ValueError(f"{where}: text: expected a string, got {item['text']!r}")
        if texts and rows:
            raise ValueError(f"{where}: expected text or input_ids in all lines, got both")
    return _padded(rows) if rows else texts


def _json_row(item: dict[str, Any], where: str) -> dict[str, list[int]]:
    """Return the lists of one object, all of one length."""
    row = {key: item[key] for key in FIELDS if key in item}
    for key, values in row.items():
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise ValueError(f"{where}: {key}: expected a list of integers")
        if len(values) != len(row["input_ids"]):
            wanted = len(row["input_ids"])
            raise ValueError(f"{where}: {key}: expected {wanted} values, got {len(values)}")
    row.setdefault("attention_mask", [1] * len(row["input_ids"]))
    return row


def _padded(rows: list[dict[str, list[int]]]) -> dict[str, npt.NDArray[np.int64]]:
    """Put rows of different lengths into arrays, zeros behind the short ones."""
    longest = max(len(row["input_ids"]) for row in rows)
    keys = [key for key in FIELDS if any(key in row for row in rows)]
    arrays = {key: np.zeros((len(rows), longest), np.int64) for key in keys}
    for index, row in enumerate(rows):
        for key, values in row.items():
            arrays[key][index, : len(values)] = values
    return arrays
