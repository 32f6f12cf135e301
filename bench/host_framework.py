# SPDX-License-Identifier: Apache-2.0
"""Do two thread pools in one process starve each other? Alternate PyTorch's calls with ours.

"alone" is a loop of one library's calls; "control" adds, between two calls, a read of as many
bytes as the other library touches, so that lost cache is not taken for lost cores; "alternating"
is one call of each in turn. Each library must stay within 15% of its time alone.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from common import workers
from common.targets import Target, at_most
from octavo import Linear, runtime, timing
from octavo.bench import linear as ours
from octavo.bench import report
from octavo.bench.peers.worker import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHAPES = ((128, 384, 384), (32, 768, 768), (128, 768, 768))
QUICK = ((128, 384, 384),)
MAX_SLOWDOWN = 1.15


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alternate(first: Callable[[], Any], second: Callable[[], Any], calls: int) -> list[float]:
    """Return the median seconds of each function when they are called in turn."""
    pairs = [(timed(first), timed(second)) for _ in range(calls)]
    return [statistics.median(column) for column in zip(*pairs, strict=True)]


def reader(nbytes: int) -> Callable[[], Any]:
    """Return a function that reads `nbytes` on the calling thread."""
    buffer = np.ones(max(1, nbytes // 8), np.int64)
    return buffer.sum


def measure_shape(shape: tuple[int, ...], threads: int, quick: bool) -> list[report.Row]:
    """Return one row for each library and way of calling it."""
    import torch

    from octavo.bench.peers import Layer
    from octavo.bench.peers.torch_linear import prepare_float32

    m, n, k = shape
    problem = ours.make_problem(m, n, k)
    call_torch = prepare_float32(Layer(problem.weight, problem.bias, threads))(problem.x)
    call_ours = partial(Linear.from_float(problem.weight, problem.bias), problem.x)
    if torch.get_num_threads() != threads:
        raise RuntimeError(f"torch runs {torch.get_num_threads()} threads, expected {threads}")
    ours.checker(problem)("octavo", call_ours())
    small = ours.work(m, n, k)[1]
    large = small + 3 * n * k
    read_small, read_large = reader(small), reader(large)
    slowest = max(timing.estimate(call_torch), timing.estimate(call_ours))
    calls = max(5, int((0.05 if quick else 0.3) / slowest))
    found: dict[tuple[str, str], list[float]] = {}
    with timing.gc_paused():
        for _ in range(3 if quick else 7):
            for engine, call, read in (
                ("torch", call_torch, read_small),
                ("octavo", call_ours, read_large),
            ):
                timing.settle()
                alone = statistics.median(timed(call) for _ in range(calls))
                found.setdefault((engine, "alone"), []).append(alone)
                timing.settle()
                control = alternate(call, read, calls)[0]
                found.setdefault((engine, "control"), []).append(control)
            timing.settle()
            both = alternate(call_torch, call_ours, calls)
            found.setdefault(("torch", "alternating"), []).append(both[0])
            found.setdefault(("octavo", "alternating"), []).append(both[1])
    isa = str(runtime.get_isa())
    return [
        report.make_row(
            (
                "host_framework",
                f"{m}x{n}x{k}",
                f"{engine} {way}",
                isa if engine == "octavo" else "-",
                threads,
            ),
            timing.Timing(tuple(values), calls),
            (2 * m * n * k, small if engine == "octavo" else large),
            extra={"way": way, "library": engine},
        )
        for (engine, way), values in found.items()
    ]


def host_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Hold each library's alternating time against its time alone."""
    times = {(r["case"], r["extra"]["library"], r["extra"]["way"]): r["seconds"] for r in rows}
    targets = []
    for library in ("torch", "octavo"):
        for way in ("alternating", "control"):
            ratios = [
                (seconds / times[(case, name, "alone")], case)
                for (case, name, how), seconds in times.items()
                if name == library and how == way
            ]
            name = f"{library} {way} / alone"
            target = at_most(name, MAX_SLOWDOWN, ratios, "{:.2f}x".format)
            if way == "control" and ratios:
                target = Target(name, "for comparison", target.measured, None, target.where)
            targets.append(target)
    return targets


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    rows: list[report.Row] = []
    absent: dict[str, str] = {}
    try:
        for shape in shapes:
            made = measure_shape(shape, threads, quick)
            rows += made
            for row in made:
                workers.say(report.row_line(row))
    except ImportError as error:
        absent["torch"] = str(error)
    workers.announce(absent)
    more = {"versions": versions(), "absent": absent}
    return report.document("host_framework", rows, {"quick": quick}, **more)


def main(argv: Sequence[str] | None = None) -> int:
    return workers.main_of_script(
        argv,
        __file__,
        __doc__ or "",
        work,
        lambda quick: QUICK if quick else SHAPES,
        host_targets,
        threads="2",
    )


if __name__ == "__main__":
    sys.exit(main())
