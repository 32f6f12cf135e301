# SPDX-License-Identifier: Apache-2.0
"""Encoders side by side: their linear layers, equality, nearness; tokens to calibrate with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import model_files
from octavo import nn
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

Array = np.ndarray[Any, np.dtype[Any]]


def linears(model: Encoder, *kinds: str) -> dict[str, Any]:
    """The linear layers of a model, or those with weights of some kinds."""
    return {name: m for name, m in model.named_modules() if nn.is_linear(m, *kinds)}


def assert_same_encoder(first: Encoder, second: Encoder) -> None:
    """Equal tensors, and equal results."""
    one, two = first.state_dict(), second.state_dict()
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert_same_bits(two[name], value)
    assert_same_bits(second(*model_files.batch()), first(*model_files.batch()))


def assert_same_files(first: Path, second: Path) -> None:
    """Equal names and bytes in two folders."""
    one, two = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (first, second))
    assert one.keys() == two.keys()
    for name, content in one.items():
        assert two[name] == content, name


def cosines(first: Encoder, second: Encoder) -> Array:
    """How near two models come for each sentence of a batch."""
    one, two = (model.encode(*model_files.batch()) for model in (first, second))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.asarray((one * two).sum(axis=1) / lengths)


def token_rows(seed: int = 0, rows: int = 40, tokens: int = 12) -> Array:
    """Sentences of one length."""
    return np.random.default_rng(seed).integers(1, 100, (rows, tokens))
