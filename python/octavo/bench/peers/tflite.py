# SPDX-License-Identifier: Apache-2.0
"""A TensorFlow Lite file, and LiteRT where that is installed: inputs in, outputs out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from octavo import tflite as reading
from octavo.bench import tflite
from octavo.bench.blas import limited
from octavo.bench.cases import time_case
from octavo.bench.model import min_cosine
from octavo.bench.peers import litert
from octavo.bench.peers.base import attempt, attempt_all
from octavo.bench.peers.resident import resident
from octavo.bench.peers.worker import Request, Tell

MIN_COSINE = 0.9
"""Two roundings of codes are nearer than that; another computation's results are not."""


def measure(request: Request, tell: Tell) -> dict[str, Any]:
    """Measure the file of `request` in this process; see the module ``linear``."""
    assert request.model is not None
    path, file = request.model, reading.read(request.model)
    model, inputs = reading.load(path), tflite.make_inputs(file)
    calls: dict[str, Any] = {tflite.OURS: partial(model, *inputs)}
    absent, failed = {}, []
    if request.wants(litert.NAME):
        run, reason = attempt(partial(litert.load, path, request.threads))
        if run is None:
            absent[litert.NAME] = reason
        else:
            calls[litert.NAME] = partial(run, inputs)
    reference = tflite.numbers(file, calls[tflite.OURS]())

    def cosine_of(call: Any) -> float:
        cosine = min_cosine(tflite.numbers(file, call()), reference)
        if not cosine >= MIN_COSINE:
            raise ArithmeticError(f"cosine {cosine:.3f} to {tflite.OURS}")
        return cosine

    cosines, wrong = attempt_all({name: partial(cosine_of, call) for name, call in calls.items()})
    failed += [f"{name}: {reason}" for name, reason in wrong.items()]
    operations, nbytes, is_integer = tflite.work(file)
    with ExitStack() as stack:
        stack.enter_context(limited(request.threads))
        rows = time_case(
            ("tflite", Path(path).stem, request.threads),
            {name: calls[name] for name in cosines},
            (operations, nbytes),
            "",  # NumPy has no such networks
            extra={name: {"cosine": cosine} for name, cosine in cosines.items()},
            rounds=3 if request.quick else 9,
            seconds=0.1 if request.quick else 0.5,
        )
    # The limit is that of int8, and of what we read.
    rows = [
        row if row.engine == tflite.OURS and is_integer else replace(row, limit_seconds=None)
        for row in rows
    ]
    for row in rows:
        taken = resident(row.engine, path, request.threads)
        row.extra.update({} if taken is None else taken._asdict())
    tell(rows)
    return {"absent": absent, "failed": failed}
