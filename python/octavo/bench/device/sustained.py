# SPDX-License-Identifier: Apache-2.0
"""A sustained load: whether a cluster slows down, how hot it gets, what it takes."""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

from octavo import runtime
from octavo.bench import blas
from octavo.bench.device import sensors
from octavo.bench.device.clusters import Cluster
from octavo.bench.device.files import SystemFiles
from octavo.bench.device.kernels import sustained_case
from octavo.bench.device.measure import thread_counts

THROTTLED = 0.9
"""The last rate over the first, below which a cluster has slowed down."""

_IDLE_SECONDS = 0.5
_WINDOW_SECONDS = 0.1
_ENDS = 10
"""First and last are the means of this part of the windows: a tenth."""


class Sustained(NamedTuple):
    """What the file says of a cluster under load."""

    throttling: dict[str, Any]
    energy: dict[str, Any] | None


def run(
    files: SystemFiles, cluster: Cluster, seconds: float, meter: sensors.Meter | None
) -> Sustained:
    """Multiply on all CPUs of the cluster for so many seconds."""
    case = sustained_case()
    threads = thread_counts(cluster)[-1]
    runtime.set_num_threads(threads)
    idle = None if meter is None else _idle_watts(files, meter)
    before = sensors.temperatures(files)
    clocks = []
    power = None if meter is None else sensors.Reading(meter, files)
    rates: list[float] = []
    start = time.perf_counter()
    with blas.limited(threads):
        while not rates or time.perf_counter() - start < seconds:
            if power is not None:
                power.take()
            rates.append(_window(case.call) * case.ops / 1e9)
            clocks.append(sensors.slowest_mhz(files, cluster.cpus))
    if power is not None:
        power.take()
    took = time.perf_counter() - start
    after = {name: value for name, value in sensors.temperatures(files).items() if name in before}
    hottest = max(after, key=lambda name: after[name], default=None)
    ends = max(1, len(rates) // _ENDS)
    mhz = None if None in (clocks[0], clocks[-1]) else [clocks[0], clocks[-1]]
    celsius = None if hottest is None else [before[hottest], after[hottest]]
    watts = None if power is None else power.watts()
    return Sustained(
        {
            "threads": threads,
            "seconds": took,
            "first": statistics.fmean(rates[:ends]),
            "last": statistics.fmean(rates[-ends:]),
            "unit": "GOP/s",
            "mhz": mhz,
            "celsius": celsius,
            "sensor": hottest,
        },
        None if watts is None else {"seconds": took, "watts": watts, "idle_watts": idle},
    )


def _window(call: Any) -> float:
    """Return the calls a second over a tenth of one."""
    calls, start = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        took = time.perf_counter() - start
        if took >= _WINDOW_SECONDS:
            return calls / took


def _idle_watts(files: SystemFiles, meter: sensors.Meter) -> float | None:
    reading = sensors.Reading(meter, files)
    reading.take()
    for _ in range(5):
        time.sleep(_IDLE_SECONDS / 5)
        reading.take()
    return reading.watts()
