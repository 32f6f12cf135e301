# SPDX-License-Identifier: Apache-2.0
"""The child that measures one cluster: it was held to its CPUs before it loaded anything."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

from octavo.bench.children import Send, serve
from octavo.bench.device import sensors, sustained
from octavo.bench.device.clusters import Cluster
from octavo.bench.device.files import SystemFiles, format_cpus
from octavo.bench.device.levels import memory_bytes
from octavo.bench.device.measure import (
    Pace,
    Result,
    Step,
    count_steps,
    kernels,
    models,
    rates,
)


def _cluster_of(values: dict[str, Any]) -> Cluster:
    """Return the cluster that `dataclasses.asdict` and JSON made `values` of."""
    by_level = {
        name: {int(level): value for level, value in values[name].items()}
        for name in ("caches", "sharing")
    }
    return Cluster(**{**values, **by_level, "cpus": tuple(values["cpus"])})


def work(request: dict[str, Any], send: Send) -> None:
    """Measure what `run` asks for; answer with results, notes, and what the load showed."""
    cluster = _cluster_of(request["cluster"])
    # Starting Python took its part of the time.
    end = request["started"] + request["seconds"]
    steps = count_steps(cluster)
    send({"steps": steps})
    pace = Pace(end - request["sustained"], steps, request["repetitions"], request["most_seconds"])
    groups = rates(cluster, pace, memory_bytes()), kernels(cluster, pace), models(cluster, pace)
    last = "the start"
    for step in itertools.chain(*groups):
        made = _outcome(step)
        if made is None:
            send({"missing": f"{cluster.title}: no time was left after {last}"})
            break
        if isinstance(made, str):
            send({"missing": f"{cluster.title}: {made}"})
        else:
            last = f"{made.kind} {made.case}"
            send({"result": made.to_json(), "disturbed": made.disturbed})
    files = SystemFiles()
    meter, _ = sensors.find_meter(files)
    load = sustained.run(files, cluster, request["sustained"], meter)
    send({"throttling": load.throttling, "energy": load.energy})
    if cluster.pinned and os.sched_getaffinity(0) != set(cluster.cpus):
        now = format_cpus(tuple(sorted(os.sched_getaffinity(0))))
        send({"missing": f"{cluster.title}: the system moved it to CPU {now} meanwhile"})
    send({"done": True})


def _outcome(step: Step) -> Result | str | None:
    """Return what a step does, or what went wrong: that must not keep the others away."""
    try:
        return step()
    except MemoryError:
        return "a measurement needs more memory than there is"
    except ArithmeticError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], work))
