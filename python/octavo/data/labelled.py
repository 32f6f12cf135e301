# SPDX-License-Identifier: Apache-2.0
"""Sentences or token ids, with or without labels, as batches that remember their order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import _checks
from octavo._text import shown
from octavo.data.batches import ROWS
from octavo.data.files import FIELDS, read_file
from octavo.data.tokenizer import TokenModel, tokens_for


@dataclass(frozen=True)
class Data:
    """What a model is evaluated on: sentences or arrays, perhaps labels; `name` is for messages."""

    sentences: list[str] | None
    arrays: dict[str, Any] | None
    labels: list[Any] | None
    name: str

    def __len__(self) -> int:
        if self.sentences is not None:
            return len(self.sentences)
        assert self.arrays is not None
        return len(self.arrays["input_ids"])

    def classes(self, names: Mapping[str, int], count: int | None) -> npt.NDArray[np.int64] | None:
        """Return the labels as numbers below `count`, named ones by `names`; or None."""
        if self.labels is None:
            return None
        numbers = []
        for index, label in enumerate(self.labels):
            number = names.get(str(label), label)
            if isinstance(number, str) and number.lstrip("-").isdigit():
                number = int(number)
            is_number = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
            if not is_number or number < 0 or (count is not None and number >= count):
                wanted = f"one of {sorted(names)}" if names else "a number"
                if count is not None:
                    wanted += f" or a number below {count}"
                raise ValueError(
                    f"{self.name}: label {index}: expected {wanted}, got {shown(label)}"
                )
            numbers.append(int(number))
        return np.array(numbers, np.int64)

    def batches(self, model: TokenModel) -> Iterator[tuple[npt.NDArray[np.int64], tuple[Any, ...]]]:
        """Yield rows of like length together: their positions, and a call's arguments."""
        if self.sentences is not None:
            yield from self._sentence_batches(model)
            return
        assert self.arrays is not None
        parts: list[Any] = [self.arrays.get(key) for key in FIELDS]
        ids, mask, types = model.checked(*parts)
        lengths = np.full(len(ids), ids.shape[1]) if mask is None else mask.sum(axis=1)
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            yield rows, tuple(None if part is None else part[rows] for part in (ids, mask, types))

    def _sentence_batches(
        self, model: TokenModel
    ) -> Iterator[tuple[npt.NDArray[np.int64], tuple[Any, ...]]]:
        assert self.sentences is not None
        order = np.argsort([len(text) for text in self.sentences], kind="stable")
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            texts = [self.sentences[row] for row in rows]
            yield rows, tokens_for(model, texts, self.name)


def read_data(data: object, labels: object, name: str) -> Data:
    """Return checked data.

    Parameters
    ----------
    data : path, sequence of str, or mapping of arrays
        A ``.tsv`` file has a label, a tab and a sentence a line; ``.jsonl`` objects with "text" or
        "input_ids" and perhaps "label"; ``.txt`` a sentence a line; ``.npz`` input_ids, perhaps
        attention_mask, token_type_ids and labels.
    labels : sequence, optional
        A number or a name for each row, if the data has none.
    name : str
        The argument's name.
    """
    if isinstance(data, (str, os.PathLike)):
        read = _from_file(Path(data), name)
    elif isinstance(data, Mapping):
        read = _from_arrays(dict(data), data.get("labels"), name)
    elif isinstance(data, (bytes, int, float)) or not hasattr(data, "__iter__"):
        raise TypeError(f"{name}: expected a file, sentences or arrays, got {type(data).__name__}")
    else:
        items = list(data)
        if not all(isinstance(item, str) for item in items):
            raise TypeError(f"{name}: expected a file, sentences or arrays, got other items")
        read = Data(items, None, None, name)
    if labels is not None:
        if read.labels is not None:
            raise ValueError(f"labels: expected none, {read.name} has its own")
        read = Data(read.sentences, read.arrays, list(labels), name)  # type: ignore[call-overload]
    if not len(read):
        raise ValueError(f"{read.name}: expected at least one row, got none")
    if read.labels is not None and len(read.labels) != len(read):
        raise ValueError(f"labels: expected {len(read)}, one a row, got {len(read.labels)}")
    return read


def _from_file(path: Path, name: str) -> Data:
    content = read_file(path, name, labelled=True)
    if content.arrays is not None:
        return _from_arrays(content.arrays, content.labels, str(path))
    return Data(content.sentences, None, content.labels, str(path))


def _from_arrays(arrays: dict[str, Any], labels: Any, name: str) -> Data:
    known = (*FIELDS, "labels")
    for key in arrays:
        if key not in known:
            raise ValueError(f"{name}: expected the arrays {', '.join(known)}, got {shown(key)}")
    if "input_ids" not in arrays:
        raise ValueError(f"{name}: expected the array input_ids, got {sorted(arrays)}")
    arrays.pop("labels", None)
    ids = _checks.as_array(arrays["input_ids"], f"{name}: input_ids")
    _checks.check_shape(ids, (None, None), f"{name}: input_ids")
    listed = None if labels is None else np.asarray(labels).reshape(-1).tolist()
    return Data(None, arrays, listed, name)
