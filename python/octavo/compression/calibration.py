# SPDX-License-Identifier: Apache-2.0
"""Calibration inputs of a model, from wherever they come, as checked batches."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from octavo.io.text import tokenize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from octavo.models.encoder import Encoder

__all__ = ["Batch", "Calibration", "batches_of"]

ROWS = 32
"""Sentences that go through the model together."""

Calibration = Any
"""What `octavo.compress` takes as calibration data; see there."""

_FIELDS = ("input_ids", "attention_mask", "token_type_ids")


class Batch(NamedTuple):
    """One batch as the model's `forward` takes it; every row has a token."""

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    types: npt.NDArray[np.int64] | None


def batches_of(calibration: Calibration, model: Encoder) -> list[Batch]:
    """Return checked batches of calibration data.

    Parameters
    ----------
    calibration : path, sequence of str, mapping, or iterable of batches
        As `octavo.compress` takes it.
    model : Encoder
        Whose inputs these are; sentences are tokenized by its folder's ``tokenizer.json``.

    Raises
    ------
    TypeError, ValueError, OSError
        If there is not one token, or something is not what it should be; the message names it.
    """
    found = [part for whole in _read(calibration, model) for part in _split(whole)]
    if not found:
        raise ValueError("calibration: expected at least one token, got none")
    return found


def _read(calibration: Calibration, model: Encoder) -> Iterator[Batch]:
    if isinstance(calibration, (str, os.PathLike)):
        yield from _read(_from_file(Path(calibration)), model)
    elif isinstance(calibration, Mapping):
        yield _from_fields(calibration, "calibration", model)
    elif isinstance(calibration, (bytes, int, float)) or not hasattr(calibration, "__iter__"):
        raise TypeError(
            "calibration: expected a file, sentences, or batches of input_ids, got "
            f"{type(calibration).__name__}"
        )
    else:
        items = calibration if isinstance(calibration, np.ndarray) else list(calibration)
        if isinstance(items, np.ndarray) and items.ndim != 3:
            yield _checked(model, "calibration", items)
        elif len(items) and all(isinstance(item, str) for item in items):
            yield from _from_sentences([str(item) for item in items], model)
        else:
            for index, item in enumerate(items):
                yield _from_item(item, f"calibration[{index}]", model)


def _from_item(item: Any, where: str, model: Encoder) -> Batch:
    if isinstance(item, Mapping):
        return _from_fields(item, where, model)
    if isinstance(item, tuple):
        if not 1 <= len(item) <= len(_FIELDS):
            raise ValueError(f"{where}: expected {', '.join(_FIELDS)}, got {len(item)} parts")
        return _checked(model, where, *item)
    return _checked(model, where, item)


def _from_fields(fields: Mapping[Any, Any], where: str, model: Encoder) -> Batch:
    for key in fields:
        if key not in _FIELDS:
            raise ValueError(f"{where}: expected the fields {', '.join(_FIELDS)}, got {key!r}")
    if "input_ids" not in fields:
        raise ValueError(f"{where}: expected the field input_ids, got {sorted(fields)}")
    return _checked(model, where, *(fields.get(key) for key in _FIELDS))


def _checked(model: Encoder, where: str, *parts: Any) -> Batch:
    try:
        ids, mask, types = model.checked(*parts)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None
    return Batch(ids, np.ones(ids.shape, np.bool_) if mask is None else mask, types)


def _from_sentences(sentences: Sequence[str], model: Encoder) -> Iterator[Batch]:
    if model.source is None:
        raise ValueError(
            "calibration: sentences need the model's tokenizer, and this model was not loaded from"
            " a folder; pass input_ids"
        )
    ordered = sorted(sentences, key=len)
    for start in range(0, len(ordered), ROWS):
        chunk = ordered[start : start + ROWS]
        ids, mask = tokenize(model.source, chunk, model.config.positions)
        if ids.size:
            yield _checked(model, "calibration", ids, mask)


def _split(whole: Batch) -> Iterator[Batch]:
    """Cut a batch into small ones of rows of like length, without the padding behind them."""
    positions = np.arange(1, whole.ids.shape[1] + 1)
    ends = np.where(whole.mask, positions, 0).max(axis=1, initial=0)
    order = np.argsort(ends, kind="stable")
    order = order[ends[order] > 0]
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        kept = np.s_[rows, : ends[rows[-1]]]
        types = None if whole.types is None else whole.types[kept]
        yield Batch(whole.ids[kept], whole.mask[kept], types)


def _from_file(path: Path) -> Any:
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
    row = {key: item[key] for key in _FIELDS if key in item}
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
    keys = [key for key in _FIELDS if any(key in row for row in rows)]
    arrays = {key: np.zeros((len(rows), longest), np.int64) for key in keys}
    for index, row in enumerate(rows):
        for key, values in row.items():
            arrays[key][index, : len(values)] = values
    return arrays
