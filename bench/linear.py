# SPDX-License-Identifier: Apache-2.0
"""Our linear layer against every int8 and float peer that is installed.

Float32 in and out, quantization included, weights prepared beforehand; one process per thread
count, all engines interleaved in it, one thread pool awake at a time.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from common import peers as peer_list
from common import workers
from common.linear_targets import linear_targets
from octavo import Linear, runtime
from octavo.bench import linear as ours
from octavo.bench import machine, report, roofline, timing
from octavo.bench.blas import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

LAYERS = (
    (384, 384),
    (1536, 384),
    (768, 768),
    (3072, 768),
    (768, 3072),
    (4096, 4096),
    (11008, 4096),
)
ROWS = (1, 8, 32, 128, 512, 2048)
SMALL = ((1, 64, 64), (4, 64, 64), (1, 128, 128), (32, 64, 64))
"""Shapes below the grid: only NumPy's float32 and the cost of a call matter there."""

QUICK = ((1, 64, 64), (1, 384, 384), (32, 384, 384), (128, 768, 768), (1, 4096, 4096))

MAX_PEER_ERROR = 0.3
"""Peers may be coarser than we are (per-tensor scales, sums that saturate); this finds broken
ones."""


def grid(quick: bool) -> tuple[tuple[int, int, int], ...]:
    """Return the usual (M, N, K)."""
    if quick:
        return QUICK
    return SMALL + tuple((m, n, k) for n, k in LAYERS for m in ROWS)


def measure_shape(
    x: np.ndarray[Any, Any],
    layer: peer_list.Layer,
    ready: dict[str, peer_list.Bind],
    kinds: dict[str, str],
    quick: bool,
) -> tuple[list[report.Row], dict[str, str]]:
    """Time all engines on one input; return the rows and the peers that failed."""
    problem = ours.Problem(x, layer.weight, layer.bias)
    m, n, k = problem.shape
    check = ours.checker(problem, MAX_PEER_ERROR)
    calls, failed = peer_list.bind_all(ready, x, check)
    mine = Linear.from_float(layer.weight, layer.bias)
    ours.checker(problem)("octavo", mine(x))
    ops, nbytes = ours.work(m, n, k)
    weight_bytes = n * k
    probes: dict[str, Callable[[], float]] = {
        "dot": partial(roofline.dot_peak, 0.01),
        "read": partial(roofline.read_speed, nbytes),
        "weight_read": partial(roofline.read_speed, weight_bytes),
    }
    measured = timing.run(
        {"octavo": partial(mine, x), "numpy float32": problem.numpy, **calls},
        rounds=3 if quick else 7,
        seconds=0.03 if quick else 0.35,
        probes=probes,
        settled=layer.threads > 1,
    )
    rates = measured.probes
    limit = roofline.limit_seconds(ops, nbytes, dot_gops=rates["dot"], read_gbs=rates["read"])
    rows = []
    for engine, timed in measured.timings.items():
        extra = {"kind": kinds[engine], "m": m, "n": n, "k": k, "l2": machine.l2_bytes(), **rates}
        rows.append(
            report.make_row(
                (
                    "linear",
                    f"{m}x{n}x{k}",
                    engine,
                    str(runtime.get_isa()) if engine == "octavo" else "-",
                    layer.threads,
                ),
                timed,
                (ops, nbytes),
                limit=limit,
                numpy=measured.timings["numpy float32"],
                extra=extra,
            )
        )
    return rows, failed


def work(threads: int, shapes: Sequence[tuple[int, int, int]], only: str, quick: bool) -> Any:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    peers, absent = peer_list.find(only.split(","))
    workers.announce(absent)
    kinds = {peer.name: peer.kind for peer in peers} | {"octavo": "ours", "numpy float32": "float"}
    rows: list[report.Row] = []
    failed: list[str] = []
    with limited(threads):
        for n, k in dict.fromkeys((n, k) for _, n, k in shapes):
            layer = peer_list.Layer(*ours.make_layer(n, k), threads)
            ready, refused = peer_list.prepare_all(peers, layer)
            failed += [f"{n}x{k} {name}: {reason}" for name, reason in refused.items()]
            for m in [m for m, *rest in shapes if rest == [n, k]]:
                made, wrong = measure_shape(ours.make_input(m, k), layer, ready, kinds, quick)
                failed += [f"{m}x{n}x{k} {name}: {reason}" for name, reason in wrong.items()]
                rows += made
                for row in sorted(made, key=lambda row: row.seconds):
                    workers.say(report.row_line(row))
                workers.say()
            del ready
    for line in failed:
        workers.say(f"failed: {line}")
    return report.document(
        "linear",
        rows,
        {"quick": quick},
        versions=workers.versions(),
        absent=absent,
        failed=failed,
    )


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="MxNxK,...")
    workers.add_threads(made)
    made.add_argument("--only", metavar="WORDS", default="", help="peers with one of these words")
    made.add_argument("--worker", type=int, metavar="T", help="measure here, with T threads")
    arguments = made.parse_args(argv)
    shapes = workers.shapes_or(arguments.shapes, 3, grid(arguments.quick))
    if arguments.worker:
        document = work(arguments.worker, shapes, arguments.only, arguments.quick)
        workers.finish(arguments.json, document)
        return 0
    passed = ["--shapes", ",".join("x".join(map(str, shape)) for shape in shapes)]
    passed += ["--only", arguments.only] + ["--quick"] * arguments.quick
    workers.say(report.header_line())
    counts = workers.thread_counts(arguments.threads)
    return workers.run_all(__file__, passed, counts, linear_targets, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
