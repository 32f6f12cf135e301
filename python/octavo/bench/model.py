# SPDX-License-Identifier: Apache-2.0
"""``octavo bench model``: a BERT in float32 and in int8, token ids in, sentence vectors out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from octavo.bench.cases import time_case
from octavo.bench.options import Options, configurations
from octavo.bench.report import Row

SHAPES = ((1, 16), (1, 128), (8, 128))

MIN_COSINE = 0.9
"""Random token ids are harder than text; below this an engine computes something else."""


def linear_work(model: Any, tokens: int) -> tuple[int, int]:
    """Return (operations, bytes) of the linear layers of a model for that many tokens.

    Attention and the norms are left out: the limit is that of the part that is int8. So is a
    pooler, which sentence vectors do not use.
    """
    sizes = [
        int(layer.in_features) * int(layer.out_features)
        for name, layer in model.named_modules()
        if hasattr(layer, "in_features") and not name.startswith("pooler")
    ]
    return 2 * tokens * sum(sizes), sum(sizes)


def make_ids(batch: int, length: int, vocabulary: int) -> tuple[Any, Any]:
    """Return random token ids and a full attention mask, both int64 (batch, length)."""
    rng = np.random.default_rng((0, batch, length))
    low = min(1000, vocabulary // 2)
    ids = rng.integers(low, vocabulary, (batch, length), dtype=np.int64)
    return ids, np.ones((batch, length), np.int64)


def min_cosine(a: Any, b: Any) -> float:
    """Return the smallest cosine between matching rows of two (n, d) arrays."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).min())


def check_cosine(reference: Any, name: str, result: Any) -> None:
    """Raise unless each row of `result` points where that of `reference` does."""
    cosine = min_cosine(result, reference)
    if not cosine >= MIN_COSINE:
        raise ArithmeticError(f"{name}: cosine {cosine:.4f}, expected >= {MIN_COSINE}")


def run(options: Options) -> Iterator[Row]:
    """Yield the rows, float32 and int8 for each shape, tier and thread count."""
    from octavo import compress, models
    from octavo.data.default_model import default_model

    folder = options.model or str(default_model())
    full = models.load(folder)
    small = compress(models.load(folder), recipe="int8")
    vocabulary = int(full.config.vocab_size)
    for _, threads in configurations(options):
        for batch, length in options.shapes or SHAPES:
            ids, mask = make_ids(batch, length, vocabulary)
            work = linear_work(small, batch * length)
            yield from time_case(
                ("model", f"{batch}x{length}", threads),
                {
                    "octavo int8": partial(small.encode, ids, mask),
                    "octavo float32": partial(full.encode, ids, mask),
                },
                work,
                "octavo float32",
                float_bytes=4 * work[1],
                rounds=options.rounds,
                seconds=max(options.seconds, 0.1),
                check=partial(check_cosine, full.encode(ids, mask)),
            )
