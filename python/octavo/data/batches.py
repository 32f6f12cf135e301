# SPDX-License-Identifier: Apache-2.0
"""Calibration inputs of an encoder as checked batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from octavo import _checks
from octavo._text import shown
from octavo.data.files import FIELDS, read_file
from octavo.data.sources import CalibrationData, is_parts, source_of
from octavo.data.tokenizer import TokenModel, tokens_for

ROWS = 32
"""Sentences that go through the model together."""

_TOGETHER = 1024
"""Sentences that are sorted by length together."""


class Batch(NamedTuple):
    """One batch as the model's `forward` takes it; every row has a token."""

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    types: npt.NDArray[np.int64] | None


class Batches:
    """Batches to go through as often as needed: kept, or of a stream that is read each time."""

    def __init__(
        self, kept: list[Batch] | None = None, read: Callable[[], Iterator[Batch]] | None = None
    ) -> None:
        self._kept = kept if read is None else None
        self._read = read
        self._counted = None if kept is None else _count(kept)

    def __iter__(self) -> Iterator[Batch]:
        """Begin a pass."""
        if self._read is None:
            yield from self._kept or []
            return
        batches = tokens = 0
        for batch in self._read():
            batches, tokens = batches + 1, tokens + int(batch.mask.sum())
            yield batch
        if not batches:
            raise ValueError("calibration: expected at least one token, got none")
        self._counted = batches, tokens

    @property
    def known_length(self) -> int | None:
        """Number of batches; None for a stream of which no end was seen yet."""
        return None if self._counted is None else self._counted[0]

    def __len__(self) -> int:
        """Count the batches, by a pass if need be."""
        return self._counts()[0]

    @property
    def tokens(self) -> int:
        """Number of tokens without padding, by a pass if need be."""
        return self._counts()[1]

    def _counts(self) -> tuple[int, int]:
        if self._counted is None:
            for _ in self:
                pass
        assert self._counted is not None
        return self._counted


def _count(batches: Iterable[Batch]) -> tuple[int, int]:
    sizes = [int(batch.mask.sum()) for batch in batches]
    return len(sizes), sum(sizes)


def batches_of(calibration: CalibrationData, model: TokenModel, *, once: bool = False) -> Batches:
    """Return checked batches of calibration data.

    What is in memory or in a file is cut into batches at once. A stream (a callable, a data loader,
    an iterator) is read while it is gone through; only one that cannot be read again is kept, as
    ids, unless it is gone through once.

    Parameters
    ----------
    calibration : as `octavo.compress` takes it
    model : Encoder
        Whose inputs these are; sentences are tokenized by its folder's ``tokenizer.json``.
    once : bool
        Whether there will be only one pass.
    """
    if isinstance(calibration, (str, os.PathLike)):
        content = read_file(Path(calibration), "calibration", labelled=False)
        calibration = content.sentences if content.arrays is None else content.arrays
    if isinstance(calibration, Mapping) or _checks.is_typed(calibration):
        whole = _whole(calibration, model)
        return Batches(_some(_cut(whole)))
    source = source_of(calibration)

    def read() -> Iterator[Batch]:
        return _cut(_read(source.open(), model))

    if isinstance(calibration, (list, tuple)) or (source.one_shot and not once):
        return Batches(_some(read()))
    return Batches(read=read)


def _some(batches: Iterator[Batch]) -> list[Batch]:
    found = list(batches)
    if not found:
        raise ValueError("calibration: expected at least one token, got none")
    return found


def _whole(data: Any, model: TokenModel) -> Iterator[Batch]:
    """Read a single batch, or an array of batches."""
    if isinstance(data, Mapping):
        yield _from_fields(data, "calibration", model)
        return
    array = _checks.as_array(data, "calibration")
    if array.ndim == 3:
        for index, item in enumerate(array):
            yield _checked(model, f"calibration[{index}]", item)
    else:
        yield _checked(model, "calibration", array)


def _read(items: Iterator[Any], model: TokenModel) -> Iterator[Batch]:
    """Read items of one kind: sentences (or lists of them), or inputs."""
    for first in items:
        numbered = enumerate(chain([first], items))
        break
    else:
        return
    if _sentences(first) is not None:
        yield from _from_sentences(numbered, model)
    else:
        for index, item in numbered:
            yield _from_item(item, f"calibration[{index}]", model)


def _from_item(item: Any, where: str, model: TokenModel) -> Batch:
    if isinstance(item, Mapping):
        return _from_fields(item, where, model)
    if is_parts(item):
        if not 1 <= len(item) <= len(FIELDS):
            raise ValueError(f"{where}: expected {', '.join(FIELDS)}, got {len(item)} parts")
        return _checked(model, where, *item)
    return _checked(model, where, item)


def _from_fields(fields: Mapping[Any, Any], where: str, model: TokenModel) -> Batch:
    for key in fields:
        if key not in FIELDS:
            raise ValueError(
                f"{where}: expected the fields {', '.join(FIELDS)}, got {shown(key)}; the "
                "transform_fn of an octavo.data.Dataset can leave it out"
            )
    if "input_ids" not in fields:
        raise ValueError(f"{where}: expected the field input_ids, got {sorted(fields)}")
    return _checked(model, where, *(fields.get(key) for key in FIELDS))


def _checked(model: TokenModel, where: str, *parts: Any) -> Batch:
    """Check inputs; those of one sentence, without the axis of the batch, are a batch of one."""
    try:
        if parts[0] is not None:
            first = _checks.as_array(parts[0], FIELDS[0])
            if first.ndim == 1:
                parts = (first if first.size else first.astype(np.int64), *parts[1:])
                parts = tuple(None if part is None else np.asarray(part)[None] for part in parts)
        ids, mask, types = model.checked(*parts)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None
    return Batch(ids, np.ones(ids.shape, np.bool_) if mask is None else mask, types)


def _sentences(item: Any) -> list[str] | None:
    """Return an item's sentences, or None if it is something else."""
    if isinstance(item, str):
        return [item]
    if isinstance(item, (list, tuple)) and item and all(isinstance(part, str) for part in item):
        return list(item)
    return None


def _from_sentences(items: Iterable[tuple[int, Any]], model: TokenModel) -> Iterator[Batch]:
    """Cut sentences into tokens, many at a time."""
    texts: list[str] = []
    for index, item in items:
        sentences = _sentences(item)
        if sentences is None:
            kind = _checks.describe(item)
            raise TypeError(
                f"calibration[{index}]: expected a sentence like those before it, got {kind}"
            )
        texts += sentences
        if len(texts) >= _TOGETHER:
            yield _tokenized(texts, model)
            texts = []
    if texts:
        yield _tokenized(texts, model)


def _tokenized(texts: list[str], model: TokenModel) -> Batch:
    return _checked(model, "calibration", *tokens_for(model, texts, "calibration"))


def _cut(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Cut batches into small ones of rows of like length; first put smaller ones together."""
    held: list[Batch] = []
    for batch in batches:
        if len(batch.ids) >= ROWS:
            yield from _split(batch)
            continue
        held.append(batch)
        if sum(len(one.ids) for one in held) >= 8 * ROWS:
            yield from _split(_joined(held))
            held = []
    if held:
        yield from _split(_joined(held))


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    longest = max(batch.ids.shape[1] for batch in batches)

    def stacked(arrays: list[Any]) -> Any:
        return np.concatenate(
            [np.pad(array, ((0, 0), (0, longest - array.shape[1]))) for array in arrays]
        )

    types = None
    if any(batch.types is not None for batch in batches):
        types = stacked([np.zeros_like(b.ids) if b.types is None else b.types for b in batches])
    return Batch(stacked([b.ids for b in batches]), stacked([b.mask for b in batches]), types)


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
