# SPDX-License-Identifier: Apache-2.0
"""A decoder in few bits, and llama.cpp where that is installed: token ids in, logits out."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from octavo.bench import decoder
from octavo.bench.blas import limited
from octavo.bench.cases import time_case
from octavo.bench.decoder import FLOAT, OURS
from octavo.bench.model import min_cosine
from octavo.bench.peers import llama_cpp
from octavo.bench.peers.base import attempt_all
from octavo.bench.peers.worker import Request, Tell
from octavo.bench.report import Row

MIN_COSINE = 0.9
"""Logits of weights of 4 bits are that near to those of 8; other tokens' are not."""


def _measure_case(
    shape: tuple[int, int], others: dict[str, Any], model: Any, request: Request
) -> tuple[list[Row], list[str]]:
    """Time all engines on one case; return the rows and the engines that failed."""
    case = decoder.case_name(*shape)
    ours = decoder.step_of(model, *shape)
    reference = ours()
    steps, wrong = attempt_all({name: partial(make, *shape) for name, make in others.items()})

    def checked(step: decoder.Step) -> float:
        cosine = min_cosine(step(), reference)
        if not cosine >= MIN_COSINE:
            raise ArithmeticError(f"cosine {cosine:.3f} to {OURS}")
        return cosine

    cosines, differing = attempt_all({name: partial(checked, step) for name, step in steps.items()})
    rows = time_case(
        ("decoder", case, request.threads),
        {OURS: ours, **{name: steps[name] for name in cosines}},
        decoder.work(model, *shape),
        FLOAT,
        extra={name: {"cosine": cosine} for name, cosine in cosines.items()},
        rounds=3 if request.quick else 9,
        seconds=0.1 if request.quick else 0.5,
    )
    # The limit is that of the weights that we read.
    rows = [row if row.engine == OURS else replace(row, limit_seconds=None) for row in rows]
    failed = {**wrong, **differing}
    return rows, [f"{name} ({case}): {reason}" for name, reason in failed.items()]


def measure(request: Request, tell: Tell) -> dict[str, Any]:
    """Measure all cases of `request` in this process; see the module ``linear``."""
    assert request.model is not None
    loaded = decoder.load(request.model)
    failed: list[str] = []
    with ExitStack() as stack:
        workdir = request.workdir or stack.enter_context(tempfile.TemporaryDirectory())
        peers, absent = llama_cpp.find(Path(request.model), Path(workdir), request.threads)
        others: dict[str, Any] = {
            name: peer.step for name, peer in peers.items() if request.wants(name)
        }
        ours = loaded.pop(OURS)
        others |= {name: partial(decoder.step_of, model) for name, model in loaded.items()}
        stack.enter_context(limited(request.threads))
        for batch, tokens in request.shapes:
            rows, wrong = _measure_case((batch, tokens), others, ours, request)
            failed += wrong
            tell(rows)
    return {"absent": absent, "failed": failed}
