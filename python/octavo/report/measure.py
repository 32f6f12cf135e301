# SPDX-License-Identifier: Apache-2.0
"""What a report times itself where it is given no results: a model, its layers, the machine."""

from __future__ import annotations

from functools import partial
from typing import Any

from octavo import nn, runtime
from octavo.bench import linear, report, roofline
from octavo.bench import model as whole
from octavo.bench.blas import limited
from octavo.bench.cases import time_case
from octavo.bench.options import Options
from octavo.report.collect import Progress
from octavo.report.facts import ModelFacts

_LENGTHS = (16, 64, 128)
_ROWS = (1, 128)
_USUAL = ((1, 384, 384), (128, 384, 384), (1, 768, 768), (128, 768, 768), (128, 3072, 768))


def measure(facts: ModelFacts | None, progress: Progress, seconds: float = 0.3) -> dict[str, Any]:
    """Time the model of `facts`, or some usual layers, against NumPy's float32; return a document.

    Each engine and case gets `seconds`; ``progress(text, done)`` is called as each step starts.
    """
    progress("measuring the machine's limits", 0.0)
    limits = roofline.measure()
    rows: list[report.Row] = []
    lengths = [] if facts is None else _lengths(facts)
    shapes = _USUAL if facts is None else _shapes(facts)
    steps = len(lengths) + len(shapes)
    for index, tokens in enumerate(lengths):
        assert facts is not None
        progress(f"timing {tokens} tokens", index / steps)
        rows += _model_rows(facts, tokens, seconds)
    for index, shape in enumerate(shapes, len(lengths)):
        progress(f"timing {'x'.join(map(str, shape))}", index / steps)
        rows += linear.run(Options(shapes=(shape,), rounds=5, seconds=seconds))
    return report.document("report", rows, {"seconds": seconds}, roofline=limits)


def _lengths(facts: ModelFacts) -> list[int]:
    positions = facts.small.config.positions
    return [length for length in _LENGTHS if length <= positions]


def _shapes(facts: ModelFacts) -> tuple[tuple[int, int, int], ...]:
    layers = dict.fromkeys(
        (layer.out_features, layer.in_features)
        for _, layer in facts.small.named_modules()
        if nn.is_linear(layer, "int8")
    )
    return tuple((m, n, k) for n, k in layers for m in _ROWS)


def _model_rows(facts: ModelFacts, tokens: int, seconds: float) -> list[report.Row]:
    small = facts.small
    ids, mask = whole.make_ids(1, tokens, int(small.config.vocab_size))
    work = whole.linear_work(small, tokens)
    threads = runtime.get_num_threads()
    with limited(threads):
        return time_case(
            ("model", f"1x{tokens}", threads),
            {name: partial(model.encode, ids, mask) for name, model in facts.models.items()},
            work,
            "octavo float32",
            float_bytes=4 * work[1],
            rounds=5,
            seconds=seconds,
        )
