# SPDX-License-Identifier: Apache-2.0
"""A decoder in few bits: reading a prompt, and decoding the token after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from octavo import compress, models, nn
from octavo._types import Float32, Int64
from octavo.bench.report import table, three_digits
from octavo.io.folder import read_json
from octavo.models import decoder_config
from octavo.models.gguf import is_gguf

OURS, INT8, FLOAT = "octavo", "octavo int8", "octavo float32"
SHAPES = ((1, 512), (1, 1), (8, 1))
"""Sequences, and new tokens of each: of more than one a prompt, of one what follows a text."""

CONTEXT = 128
"""Tokens of the text that a decoded token follows."""

Step = Callable[[], Float32]
"""Returns the logits that follow the last token of each sequence."""


def is_decoder(path: Path) -> bool:
    """Whether a path is that of a decoder, by its name or its config.json."""
    if is_gguf(path):
        return True
    config = path / "config.json"
    return config.is_file() and decoder_config.is_decoder(read_json(config))


def load(path: str) -> dict[str, Any]:
    """Load a decoder's folder or GGUF file, once for each engine.

    The first is what is measured: a GGUF file as it is, beside the same in int8; a float folder in
    int8, beside itself; a compressed one alone.
    """
    loaded = models.load(path)
    if is_gguf(path):
        return {OURS: loaded, INT8: compress(path, recipe="int8")}
    if not any(nn.is_linear(layer, "float32") for _, layer in loaded.named_modules()):
        return {OURS: loaded}
    return {OURS: compress(path, recipe="int8"), FLOAT: loaded}


def case_name(batch: int, tokens: int) -> str:
    """Name a case.

    Examples
    --------
    >>> case_name(1, 512), case_name(8, 1)
    ('prompt 1x512', 'decode 8x1')
    """
    return f"{'prompt' if tokens > 1 else 'decode'} {batch}x{tokens}"


def make_ids(batch: int, tokens: int, vocabulary: int) -> tuple[Int64, Int64]:
    """Return random texts (batch, CONTEXT), to be decoded behind, and the new tokens."""
    rng = np.random.default_rng((1, batch, tokens))
    ids = rng.integers(min(1000, vocabulary // 2), vocabulary, (batch, CONTEXT + tokens))
    return ids[:, :CONTEXT], ids[:, CONTEXT:]


def step_of(model: Any, batch: int, tokens: int) -> Step:
    """Return what runs a case: with the same result each time."""
    before, new = make_ids(batch, tokens, model.config.vocab_size)
    wanted = [1] * batch

    def prompt() -> Float32:
        caches = [models.Cache(model) for _ in new]
        return np.concatenate(model.advance(list(new), caches, wanted))

    if tokens > 1:
        return prompt
    caches = [models.Cache(model) for _ in new]
    model.advance(list(before), caches, [0] * batch)

    def decode() -> Float32:
        for cache in caches:
            cache.truncate(CONTEXT)
        return np.concatenate(model.advance(list(new), caches, wanted))

    return decode


def work(model: Any, batch: int, tokens: int) -> tuple[int, int]:
    """Return (operations, bytes) of the linear layers, logits of one token a sequence among them.

    Attention and the norms are left out: the limit is that of the part that is int8.
    """
    layers = [one for _, one in model.model.named_modules() if nn.is_linear(one)]
    weights = [layer.held_weight for layer in layers]
    head = (model.lm_head or model.model.embed_tokens).held_weight
    sizes = sum(math.prod(weight.shape) for weight in weights)
    nbytes = sum(weight.nbytes for weight in (*weights, head))
    return 2 * batch * (tokens * sizes + math.prod(head.shape)), nbytes


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of tokens a second, and of the peers' times over ours.

    Examples
    --------
    >>> row = {"case": "decode 8x1", "threads": 1, "engine": "octavo", "seconds": 0.1}
    >>> print(summary([{**row, "share": 0.5}]))
    case        engine  T  tokens/s  octavo is  of the limit
    decode 8x1  octavo  1      80.0          -           50%
    """
    lines: list[Sequence[str]] = []
    listed = list(rows)
    ours = {
        (row["case"], row["threads"]): row["seconds"] for row in listed if row["engine"] == OURS
    }
    for row in listed:
        batch, tokens = map(int, row["case"].split()[1].split("x"))
        own = ours.get((row["case"], row["threads"]))
        is_own = own is None or row["engine"] == OURS
        lines.append(
            (
                row["case"],
                row["engine"],
                str(row["threads"]),
                three_digits(batch * tokens / row["seconds"]),
                "-" if is_own else f"{row['seconds'] / own:.2f}x as fast",
                "-" if row["share"] is None else f"{row['share']:.0%}",
            )
        )
    header = ("case", "engine", "T", "tokens/s", f"{OURS} is", "of the limit")
    return table(header, lines)
