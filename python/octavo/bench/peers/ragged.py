# SPDX-License-Identifier: Apache-2.0
"""Texts of all lengths: what peers make of them at their best."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from octavo.bench.peers.encoders import Encode
from octavo.io.tokenizer import padded
from octavo.models.encoder import Encoder

TEXTS = 200
BATCHES = (4, 8, 16, 32, 64)


def ragged_ids(model: Encoder, file: str | Path) -> tuple[Any, Any]:
    """Return ids and mask of the first `TEXTS` texts of a file: a line each, label<TAB>text too."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    texts = [line.rpartition("\t")[2] for line in lines if line.strip()][:TEXTS]
    ids, _, mask = padded(model.tokenizer(texts, model.text_limit))
    return ids, mask.astype(np.int64)


def in_batches(encode: Encode, size: int, ids: Any, mask: Any) -> Any:
    """Run rows in batches of like length, without the padding that none of them needs."""
    lengths = mask.sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    found: list[Any] = []
    for start in range(0, len(order), size):
        places = order[start : start + size]
        longest = lengths[places[0]]
        batch = [np.ascontiguousarray(part[places, :longest]) for part in (ids, mask)]
        found.append(encode(*batch))
    rows = np.concatenate(found)
    out = np.empty_like(rows)
    out[order] = rows
    return out


def at_its_best(encode: Encode, ids: Any, mask: Any) -> Encode:
    """Return an engine in the batches that it is fastest with."""
    seconds = {}
    for size in BATCHES:
        call = partial(in_batches, encode, size)
        call(ids, mask)
        began = time.perf_counter()
        call(ids, mask)
        seconds[size] = time.perf_counter() - began
    return partial(in_batches, encode, min(seconds, key=seconds.__getitem__))
