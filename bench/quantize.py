# SPDX-License-Identifier: Apache-2.0
"""Quantize and dequantize arrays larger than L2, against the copy speed and the peers.

"copy" is the speed of copying as many bytes as the job reads and writes, on the same threads.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from common import quantize_peers, workers
from common.targets import Row, Target, at_least, by_case, percent
from octavo import runtime
from octavo.bench import machine, report, roofline, timing
from octavo.bench import quantize as ours
from octavo.bench.blas import limited

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPES = ((1024, 1024), (2048, 3072), (4096, 4096))
QUICK = ((1024, 1024),)
COPY_SHARE = 0.85
PEER_RATIO = 3.0


def check_codes(expected: Any, name: str, result: Any) -> None:
    """Check any engine's result; quantized torch tensors are opened first."""
    if hasattr(result, "int_repr") and getattr(result, "is_quantized", False):
        result = result.int_repr()
    if hasattr(result, "numpy"):
        result = result.numpy()
    ours.check_against(expected, name, result, 1e-6 if name == "octavo" else 1 / 126)


def measure_shape(
    shape: tuple[int, ...], threads: int, quick: bool
) -> tuple[list[report.Row], dict[str, str]]:
    """Time every job of one array; return the rows and the peers that are absent."""
    jobs = {job.name: job for job in ours.jobs(*shape)}
    x = ours.make_array(*shape)
    codes = {
        "tensor": (jobs["quantize tensor"].numpy(), ours.tensor_scale(x)),
        "axis 0": (jobs["quantize axis 0"].numpy(), ours.row_scale(x)),
    }
    peers, absent = quantize_peers.find(x, codes, threads)
    rows = []
    for job in jobs.values():
        rivals = {name: calls[job.name] for name, calls in peers.items() if job.name in calls}
        measured = timing.run(
            {"octavo": job.ours, "numpy": job.numpy, **rivals},
            rounds=3 if quick else 9,
            seconds=0.05 if quick else 0.6,
            check=partial(check_codes, job.numpy()),
            probes={"copy": partial(roofline.copy_speed, job.nbytes // 2)},
            settled=threads > 1,
        )
        copy = measured.probes["copy"]
        for engine, timed in measured.timings.items():
            kind = {"octavo": "ours", "numpy": "float"}.get(engine, "int8")
            rows.append(
                report.make_row(
                    (
                        "quantize",
                        f"{'x'.join(map(str, shape))} {job.name}",
                        engine,
                        str(runtime.get_isa()) if engine == "octavo" else "-",
                        threads,
                    ),
                    timed,
                    (x.size, job.nbytes),
                    limit=job.nbytes / (copy * 1e9),
                    numpy=measured.timings["numpy"],
                    extra={"kind": kind, "copy": copy, "large": x.nbytes > machine.l2_bytes()},
                )
            )
    return rows, absent


def quantize_targets(rows: Sequence[Row]) -> list[Target]:
    """Hold the rows against the copy speed and the peers."""
    copy: list[tuple[float, str]] = []
    rivals: dict[str, list[tuple[float, str]]] = {"torch": [], "ort": []}
    for (case, threads), engines in by_case(rows).items():
        row, where = engines.get("octavo"), f"{case} T={threads}"
        if row is None or not row["extra"]["large"]:
            continue
        copy.append((row["share"], where))
        for name, found in rivals.items():
            if name in engines:
                found.append((engines[name]["seconds"] / row["seconds"], where))
    return [
        at_least("larger than L2: of the copy speed", COPY_SHARE, copy, percent),
        at_least("larger than L2: PyTorch", PEER_RATIO, rivals["torch"]),
        at_least("larger than L2: ONNX Runtime", PEER_RATIO, rivals["ort"]),
    ]


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    rows: list[report.Row] = []
    absent: dict[str, str] = {}
    with limited(threads):
        for shape in shapes:
            made, absent = measure_shape(shape, threads, quick)
            rows += made
            for row in made:
                workers.say(report.row_line(row))
    workers.announce(absent)
    settings = {"quick": quick}
    more = {"versions": workers.versions(), "absent": absent}
    return report.document("quantize", rows, settings, **more)


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="ROWSxCOLUMNS,...")
    workers.add_threads(made)
    made.add_argument("--worker", type=int, metavar="T", help="measure here, with T threads")
    arguments = made.parse_args(argv)
    shapes = workers.shapes_or(arguments.shapes, 2, QUICK if arguments.quick else SHAPES)
    if arguments.worker:
        workers.finish(arguments.json, work(arguments.worker, shapes, arguments.quick))
        return 0
    passed = ["--shapes", ",".join("x".join(map(str, shape)) for shape in shapes)]
    passed += ["--quick"] * arguments.quick
    workers.say(report.header_line())
    counts = workers.thread_counts(arguments.threads)
    return workers.run_all(__file__, passed, counts, quantize_targets, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
