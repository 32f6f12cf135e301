# SPDX-License-Identifier: Apache-2.0
"""A benchmark from its options to its JSON document, in this process or against the peers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from octavo.bench import decoder, linear, model, pays, quantize, report, roofline, tflite
from octavo.bench.options import Options
from octavo.bench.peers.worker import Request, launch, merge

Tell = Callable[[Sequence[report.Row], float], None]
"""Gets the rows of one case as they come, and the share of the work that is done."""


@dataclass(frozen=True)
class Kind:
    """One benchmark: its run function, the rank of its shapes, the usual and the quick ones.

    `run` is None of one that runs in processes of its own, with peers, alone.
    """

    run: Callable[[Options], Iterator[report.Row]] | None
    rank: int
    usual: tuple[tuple[int, ...], ...]
    quick: tuple[tuple[int, ...], ...]
    cases: int = 1
    """Cases for each shape."""


KINDS = {
    "linear": Kind(linear.run, 3, linear.SHAPES, ((1, 384, 384), (32, 384, 384), (128, 768, 768))),
    "quantize": Kind(quantize.run, 2, quantize.SHAPES, ((512, 768),), cases=5),
    "model": Kind(model.run, 2, model.SHAPES, ((1, 16),)),
    "decoder": Kind(None, 2, decoder.SHAPES, ((1, 64), (1, 1))),
    "tflite": Kind(None, 1, tflite.SHAPES, tflite.SHAPES),
}


def _finish(document: dict[str, Any]) -> dict[str, Any]:
    found = pays.verdicts(document["rows"])
    more = {"int8_pays": [verdict.to_json() for verdict in found]}
    return {**document, **more, "busy": report.busy_note(document["rows"])}


def run_here(kind: str, options: Options, tell: Tell) -> dict[str, Any]:
    """Run a benchmark in this process; return its document."""
    chosen = KINDS[kind]
    assert chosen.run is not None
    shapes = options.shapes or chosen.usual
    total = len(shapes) * chosen.cases * max(1, len(options.threads)) * max(1, len(options.isas))
    limits = roofline.measure(nbytes=(4 if options.quick else 64) << 20)
    rows: list[report.Row] = []
    cases: set[tuple[str, str, int]] = set()
    for row in chosen.run(options):
        rows.append(row)
        if row.engine.startswith("octavo"):
            cases.add((row.case, row.isa, row.threads))
        tell([row], min(1.0, len(cases) / total))
    settings = {"rounds": options.rounds, "seconds": options.seconds, "quick": options.quick}
    return _finish(report.document(kind, rows, settings, roofline=limits))


def run_peers(kind: str, options: Options, tell: Tell, only: Sequence[str] = ()) -> dict[str, Any]:
    """Run a benchmark against the peers that are installed, or those that `only` has words for.

    Each thread count and each tier has a process of its own. The document that is returned also
    says which peers are absent, and which failed and why.
    """
    chosen = KINDS[kind]
    shapes = options.shapes or chosen.usual
    workers = [(isa, count) for isa in options.isas or (None,) for count in options.threads or (1,)]
    total, cases = len(shapes) * chosen.cases * len(workers), 0

    def count_case(rows: Sequence[report.Row]) -> None:
        nonlocal cases
        cases += 1
        tell(sorted(rows, key=lambda row: row.seconds), cases / total)

    documents = []
    with tempfile.TemporaryDirectory(prefix="octavo-bench-") as workdir:
        for isa, threads in workers:
            request = Request(
                kind, shapes, threads, tuple(only), options.quick, options.model, workdir
            )
            more = {} if isa is None else {"OCTAVO_ISA": isa}
            documents.append(launch(request, count_case, more))
    return _finish(merge(documents))
