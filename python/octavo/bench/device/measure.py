# SPDX-License-Identifier: Apache-2.0
"""Measurements of one cluster, each within its share of the time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from octavo import _backend, runtime, timing
from octavo.bench import blas, roofline
from octavo.bench.device import levels
from octavo.bench.device.clusters import Cluster
from octavo.bench.device.encoder import SHAPES, make_encoder
from octavo.bench.device.kernels import KERNELS, Case, cases
from octavo.bench.model import linear_work, make_ids

UNITS = {"dot_peak": "GOP/s", "read": "GB/s", "copy": "GB/s", "kernel": "us", "model": "us"}
"""The kinds of results, and the unit of each."""

_LEAST_REPETITIONS = 2
_PROBE_SECONDS = 0.01


@dataclass(frozen=True)
class Result:
    """One result of the file; `disturbed`, which says why it tells little, stays out of it."""

    threads: int
    kind: str
    case: str
    tier: str
    value: float
    unit: str
    least: float
    most: float
    first: float
    last: float
    repetitions: int
    share: float | None = None
    bytes: int | None = None
    disturbed: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        fields = asdict(self)
        del fields["disturbed"]
        if self.bytes is None:
            del fields["bytes"]
        return fields


Step = Callable[[], "Result | None"]
"""Measures one result; None where no time is left for it."""


@dataclass
class Pace:
    """How long one measurement may take, so that all of them end in time.

    `end` is a time of `time.monotonic`, `left` how many measurements are to come, `once` what the
    first call of the last one took.
    """

    end: float
    left: int
    repetitions: int
    most_seconds: float
    once: float = 0.0

    def seconds(self) -> float:
        """Return the share of the next one; nothing once the time is over."""
        share = (self.end - time.monotonic()) / max(1, self.left)
        self.left -= 1
        return min(share, self.most_seconds)


def thread_counts(cluster: Cluster) -> tuple[int, ...]:
    """Return 1, and all CPUs of the cluster; the NumPy backend has one thread of its own."""
    if _backend.name != "native" or len(cluster.cpus) == 1:
        return (1,)
    return (1, len(cluster.cpus))


def count_steps(cluster: Cluster) -> int:
    """Return how many results a cluster gives."""
    counts = len(thread_counts(cluster))
    memory = 2 * len(levels.buffers(cluster, 1, None))
    return counts * (1 + memory + KERNELS + len(SHAPES))


def rates(cluster: Cluster, pace: Pace, memory: int | None) -> Iterator[Step]:
    """Yield what measures the dot unit, and reading and copying in each level of memory."""
    counts = thread_counts(cluster)
    for threads in counts:
        probe = partial(roofline.dot_peak, 2 * _PROBE_SECONDS, threads)
        yield partial(_rate, ("dot_peak", "int8"), threads, probe, pace)
    for threads in counts:
        for level, size in levels.buffers(cluster, threads, memory).items():
            yield partial(
                _rate, ("read", level), threads, partial(roofline.read_speed, size), pace, size
            )
            yield partial(
                _rate, ("copy", level), threads, partial(roofline.copy_speed, size // 2), pace, size
            )


def _rate(
    what: tuple[str, str],
    threads: int,
    probe: Callable[[], float],
    pace: Pace,
    nbytes: int | None = None,
) -> Result | None:
    seconds = pace.seconds()
    if seconds <= 0:
        return None
    runtime.set_num_threads(threads)
    end = time.monotonic() + seconds
    values: list[float] = []
    others = timing.Others()
    with blas.limited(threads), timing.gc_paused():
        while len(values) < pace.repetitions and (
            len(values) < _LEAST_REPETITIONS or time.monotonic() < end
        ):
            values.append(probe())
    timed = timing.Timing(tuple(1 / value for value in values))
    disturbed = timing.disturbance(timed, others.cpus(), threads)
    return _result(what, threads, values, None, disturbed, nbytes)


def kernels(cluster: Cluster, pace: Pace) -> Iterator[Step]:
    """Yield what times each kernel."""
    for case in cases():
        for threads in thread_counts(cluster):
            yield partial(_timed, ("kernel", case.name), case, threads, pace)


def models(cluster: Cluster, pace: Pace) -> Iterator[Step]:
    """Yield what times the encoder."""
    encoder, before = make_encoder(), 0
    for batch, length in SHAPES:
        ids, mask = make_ids(batch, length, encoder.config.vocab_size)
        call = partial(encoder.encode, ids, mask)
        work = linear_work(encoder, batch * length)
        case = Case("", call, *work, ("dot", "read"), _check_vectors)
        # Without kernels of its own, on a slow core, the longer one alone may take too long.
        expected = pace.once * length / before if before else 0.0
        for threads in thread_counts(cluster):
            what = "model", f"encoder {batch}x{length}"
            yield partial(_timed, what, case, threads, pace, 2 * expected)
        before = length


def _check_vectors(name: str, result: Any) -> None:
    if not (np.isfinite(result).all() and np.any(result)):
        raise ArithmeticError(f"{name}: the vector is none")


def _timed(
    what: tuple[str, str], case: Case, threads: int, pace: Pace, least: float = 0.0
) -> Result | None:
    """Time a call, if there is time for `least` seconds."""
    seconds = pace.seconds()
    if seconds <= 0 or least > pace.end - time.monotonic():
        return None
    runtime.set_num_threads(threads)
    with blas.limited(threads):
        start = time.perf_counter()
        case.check(what[1], case.call())
        pace.once = time.perf_counter() - start
        found = timing.run(
            {"": case.call},
            rounds=max(1, min(pace.repetitions, int(seconds / max(pace.once, 1e-9)))),
            seconds=seconds,
            probes=_probes(case, threads),
            settled=threads > 1,
        )
    timed = found.timings[""]
    limit = _limit(case, found.probes)
    share = None if limit is None else limit / statistics.median(timed.rounds)
    disturbed = timing.disturbance(timed, found.others, threads)
    return _result(what, threads, [1e6 * one for one in timed.rounds], share, disturbed)


def _probes(case: Case, threads: int) -> dict[str, Callable[[], float]]:
    known = {
        "dot": partial(roofline.dot_peak, _PROBE_SECONDS, threads),
        "read": partial(roofline.read_speed, case.nbytes),
        "copy": partial(roofline.copy_speed, case.nbytes // 2),
    }
    return {name: known[name] for name in case.limits}


def _limit(case: Case, probes: dict[str, float]) -> float | None:
    """Return the shortest time that a call could take, where something measured bounds it."""
    seconds = [
        (case.ops if name == "dot" else case.nbytes) / (rate * 1e9) for name, rate in probes.items()
    ]
    return max(seconds, default=None)


def _result(
    what: tuple[str, str],
    threads: int,
    values: Sequence[float],
    share: float | None,
    disturbed: str,
    nbytes: int | None = None,
) -> Result:
    kind, case = what
    return Result(
        threads,
        kind,
        case,
        runtime.get_isa(),
        statistics.median(values),
        UNITS[kind],
        min(values),
        max(values),
        values[0],
        values[-1],
        len(values),
        share,
        nbytes,
        disturbed,
    )
