# SPDX-License-Identifier: Apache-2.0
"""Data in the forms that people have it: batches of tensors, a DataLoader, sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LABELS = ("labels", "label")
_BUCKET = 50
"""Batches whose sentences are sorted by length together: little padding, and still shuffled."""


@dataclass(frozen=True)
class Batch:
    """Inputs by name or by position, and labels where there are."""

    inputs: dict[str, Tensor] | tuple[Tensor, ...]
    labels: Tensor | None

    @property
    def mask(self) -> Tensor | None:
        """The attention mask, shape (rows, tokens)."""
        if isinstance(self.inputs, dict):
            return self.inputs.get("attention_mask")
        if len(self.inputs) > 1 and self.inputs[0].shape == self.inputs[1].shape:
            return None if self.inputs[1].is_floating_point() else self.inputs[1]
        return None

    @property
    def ids(self) -> Tensor | None:
        """The token ids."""
        if isinstance(self.inputs, dict):
            return self.inputs.get("input_ids")
        return None if self.inputs[0].is_floating_point() else self.inputs[0]

    def to(self, device: torch.device) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Return the inputs on a device."""
        if isinstance(self.inputs, dict):
            return {key: value.to(device) for key, value in self.inputs.items()}
        return tuple(value.to(device) for value in self.inputs)


class Batches:
    """Batches that can be gone through once an epoch."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.once = iter(data) is data if isinstance(data, Iterator) else False
        self.length = len(data) if hasattr(data, "__len__") else None

    def generators(self) -> list[torch.Generator]:
        """List the generators that a DataLoader and its samplers draw from."""
        loader = self._data
        sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
        found: list[torch.Generator] = []
        for owner in (loader, getattr(loader, "sampler", None), sampler):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator) and all(generator is not g for g in found):
                found.append(generator)
        return found

    def describe(self) -> dict[str, Any]:
        """Return what tells other data apart, for checkpoints."""
        return {"batches": self.length}

    def epoch(self, seed: int, epoch: int) -> Iterator[Any]:
        """Yield raw batches."""
        del seed
        owners: list[Any] = [self._data, getattr(self._data, "sampler", None)]
        for owner in owners:
            if hasattr(owner, "set_epoch"):
                owner.set_epoch(epoch)
        return iter(self._data)

    def read(self, raw: Any, index: int) -> Batch:
        """Make tensors of a raw batch; `index` is for messages."""
        return read_batch(raw, f"data: batch {index}")


class SentenceBatches(Batches):
    """Sentences in another order each epoch, those of like length batched together."""

    def __init__(
        self,
        sentences: list[str],
        labels: list[Any] | None,
        tokenizer: Callable[..., Any],
        batch_size: int,
    ) -> None:
        self._sentences, self._labels = sentences, labels
        self._tokenizer, self._size = tokenizer, batch_size
        self.once = False
        self.length = -(-len(sentences) // batch_size)

    def generators(self) -> list[torch.Generator]:
        """None: the order follows from the seed."""
        return []

    def describe(self) -> dict[str, Any]:
        """Return the number of sentences and a digest of them and their labels."""
        text = repr((self._sentences, self._labels)).encode()
        digest = hashlib.sha256(text).hexdigest()[:16]
        return {"sentences": len(self._sentences), "digest": digest, "batch_size": self._size}

    def epoch(self, seed: int, epoch: int) -> Iterator[list[int]]:
        """Yield the sentences' indices."""
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(self._sentences)).tolist()
        stretch = self._size * _BUCKET
        groups: list[list[int]] = []
        for start in range(0, len(order), stretch):
            near = sorted(order[start : start + stretch], key=lambda i: len(self._sentences[i]))
            groups += [near[at : at + self._size] for at in range(0, len(near), self._size)]
        return iter([groups[index] for index in rng.permutation(len(groups))])

    def read(self, raw: Any, index: int) -> Batch:
        """Cut the sentences of a batch into tokens."""
        inputs = tokenized(self._tokenizer, [self._sentences[i] for i in raw])
        batch = read_batch(inputs, f"data: batch {index}")
        if self._labels is None:
            return batch
        return Batch(batch.inputs, torch.as_tensor([self._labels[i] for i in raw]))


def tokenized(tokenizer: Any, sentences: list[str]) -> Any:
    """Call a tokenizer of transformers, or any function from sentences to a dict of arrays."""
    if hasattr(tokenizer, "pad_token"):
        return tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
    return tokenizer(sentences)


def batches_of(data: Any, tokenizer: Any, batch_size: int) -> Batches:
    """Find out what `data` is."""
    if isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
        raise TypeError(
            "data: expected an iterable of batches, or a list of sentences, got "
            f"{type(data).__name__}"
        )
    if hasattr(data, "__len__") and len(data) == 0:
        raise ValueError("data: expected at least one batch, got none")
    first = data[0] if isinstance(data, Sequence) else None
    if isinstance(first, str):
        sentences, labels = list(data), None
    elif isinstance(first, (tuple, list)) and len(first) == 2 and isinstance(first[0], str):
        sentences, labels = [pair[0] for pair in data], [pair[1] for pair in data]
    else:
        if tokenizer is not None:
            raise TypeError(
                "data: expected a list of sentences or of (sentence, label), as there is a "
                f"tokenizer, got {type(data).__name__}"
            )
        return Batches(data)
    if not callable(tokenizer):
        raise TypeError(
            "tokenizer: expected a tokenizer of transformers or a function, as data holds "
            f"sentences, got {type(tokenizer).__name__}"
        )
    for index, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            raise TypeError(f"data[{index}]: expected a sentence, got {type(sentence).__name__}")
    return SentenceBatches(sentences, labels, tokenizer, batch_size)


def read_batch(raw: Any, name: str) -> Batch:
    """Make a `Batch` of a mapping, a tensor, a tuple of tensors, or (inputs, labels).

    The last of a tuple is the labels if it has one axis and the others have more, or if it
    follows a mapping or a tuple.

    Examples
    --------
    >>> read_batch(([[1, 2], [3, 4]], [0, 1]), "data").labels
    tensor([0, 1])
    """
    labels = None
    if isinstance(raw, (tuple, list)) and len(raw) == 2 and isinstance(raw[0], (Mapping, tuple)):
        raw, labels = raw
    if isinstance(raw, Mapping):
        inputs: Any = {
            str(key): _tensor(value, f"{name}, {key!r}")
            for key, value in raw.items()
            if key not in _LABELS
        }
        labels = next((raw[key] for key in _LABELS if raw.get(key) is not None), labels)
        named = list(inputs.items())
    else:
        parts = list(raw) if isinstance(raw, (tuple, list)) else [raw]
        tensors = [_tensor(part, f"{name}, item {i}") for i, part in enumerate(parts)]
        if labels is None and len(tensors) > 1 and tensors[-1].ndim == 1 < tensors[0].ndim:
            labels = tensors.pop()
        inputs = tuple(tensors)
        named = [(f"item {i}", value) for i, value in enumerate(tensors)]
    if not named:
        raise ValueError(f"{name}: expected inputs, got none")
    if labels is not None:
        labels = _tensor(labels, f"{name}, labels")
        named.append(("labels", labels))
    _check_rows(named, name)
    return Batch(inputs, labels)


def _check_rows(named: list[tuple[str, Tensor]], name: str) -> None:
    first, rows = named[0][0], named[0][1].shape[0] if named[0][1].ndim else 0
    if rows == 0:
        raise ValueError(f"{name}: expected at least one row in {first}, got none")
    for key, value in named:
        if value.ndim == 0 or value.shape[0] != rows:
            raise ValueError(
                f"{name}: expected {rows} rows in {key} as in {first}, got shape "
                f"{tuple(value.shape)}"
            )


def _tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, torch.Tensor):
        return value
    try:
        return torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name}: expected a tensor or an array, got {type(value).__name__} ({error})"
        ) from error
