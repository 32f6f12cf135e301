# SPDX-License-Identifier: Apache-2.0
"""A device from its list of CPUs to its document: a child for each kind of them, in turn."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from octavo import _backend
from octavo.bench import report
from octavo.bench.children import Child, ChildError
from octavo.bench.device import clusters, sensors
from octavo.bench.device.clusters import Cluster
from octavo.bench.device.document import FORMAT, VERSION, printable
from octavo.bench.device.files import SystemFiles
from octavo.bench.device.levels import memory_bytes
from octavo.bench.device.sustained import THROTTLED
from octavo.bench.machine import describe
from octavo.bench.peers.worker import environment

PROGRAM = "octavo bench --device"

_GRACE_SECONDS = 5.0
"""What a child may take longer than it was given, before it is ended."""

_BUSY = 0.3
"""Load a CPU, from which on a machine was busy before the measurements."""

Tell = Callable[[Cluster, Mapping[str, Any], float], None]
"""Gets each result as it comes, its cluster, and the share of the work that is done."""


@dataclass(frozen=True)
class Plan:
    """How long all may take, and of that what each result may take and the load takes."""

    seconds: float
    repetitions: int
    most_seconds: float
    sustained: float


FULL = Plan(50.0, 5, 0.4, 5.0)
QUICK = Plan(12.0, 3, 0.05, 1.0)


@contextmanager
def held_to(cpus: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Hold this thread, and what it starts meanwhile, to CPUs; yields those that it got."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield tuple(sorted(os.sched_getaffinity(0)))
    finally:
        os.sched_setaffinity(0, before)


class Measurement:
    """What is known of this device so far; `document` says it at any time.

    Parameters
    ----------
    plan : Plan
    files : SystemFiles
    """

    def __init__(self, plan: Plan, files: SystemFiles) -> None:
        self._plan, self._files = plan, files
        self._when, self._start = time.gmtime(), time.monotonic()
        self.clusters, self._notes = clusters.find(files, clusters.usable_cpus())
        self.machine = _machine(files, self.clusters)
        self._results: list[dict[str, Any]] = []
        self._disturbed: list[str] = []
        self._throttling: list[dict[str, Any]] = []
        self._energy: list[dict[str, Any]] = []
        self._meter, notes = sensors.find_meter(files)
        self._notes += notes
        self._complete = False
        self._steps, self._taken = 1, 0
        self._pins = False
        self._note_circumstances()

    def run(self, tell: Tell) -> None:
        """Measure all clusters, the fastest first; whatever ends it leaves a document."""
        self._pins = self._can_pin()
        whole = [self._measure(index, tell) for index in range(len(self.clusters))]
        self._complete = all(whole)

    def interrupted(self) -> None:
        """Note that somebody wanted no more."""
        self._notes.append("interrupted: what is here was measured until then")

    def document(self) -> dict[str, Any]:
        """Return the file's content."""
        notes = [*self._notes, *self._afterthoughts()]
        ratios = [one["last"] / one["first"] for one in self._throttling]
        seen = min(ratios) < THROTTLED if ratios else None
        source = None if self._meter is None else self._meter.source
        made = {
            "format": FORMAT,
            "version": VERSION,
            "program": PROGRAM,
            "octavo": describe()["octavo"],
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", self._when),
            "seconds": round(time.monotonic() - self._start, 1),
            "complete": self._complete,
            "machine": self.machine,
            "clusters": [cluster.to_json() for cluster in self.clusters],
            "results": self._results,
            "throttling": {"seen": seen, "clusters": self._throttling},
            "energy": {"source": source, "clusters": self._energy} if self._energy else None,
            "notes": list(dict.fromkeys(notes)),
        }
        return cast("dict[str, Any]", printable(made))

    def _measure(self, index: int, tell: Tell) -> bool:
        """Measure one cluster; return whether nothing is missing."""
        share = self._plan.seconds - (time.monotonic() - self._start)
        seconds = max(share / (len(self.clusters) - index), 2 * self._plan.sustained)
        try:
            child = self._start_child(index, seconds)
        except OSError as error:
            self._notes.append(f"{self.clusters[index].title}: skipped ({error.strerror or error})")
            return False
        whole, done = True, False
        with child:
            try:
                for answer in child.answers(seconds + _GRACE_SECONDS):
                    whole &= "missing" not in answer
                    done |= "done" in answer
                    self._take(index, answer, tell)
            except ChildError as error:
                self._notes.append(f"{self.clusters[index].title}: its process failed: {error}")
        return whole and done

    def _can_pin(self) -> bool:
        """Return whether threads can be held to CPUs; if not, all CPUs become one cluster."""
        if not hasattr(os, "sched_setaffinity"):
            return False
        cluster = self.clusters[0]
        try:
            with held_to(cluster.cpus):
                return True
        except OSError as error:
            if error.errno == errno.EINVAL:  # these CPUs are off by now
                return True
            why = error.strerror or error
        self._notes.append(f"threads cannot be held to CPUs ({why}): all are taken together")
        everywhere = tuple(sorted(cpu for one in self.clusters for cpu in one.cpus))
        self.clusters = [replace(cluster, name="cpu", cpus=everywhere, capacity=None)]
        return False

    def _start_child(self, index: int, seconds: float) -> Child:
        cluster = self.clusters[index]
        if not self._pins:
            return self._child(cluster, seconds)
        with held_to(cluster.cpus) as got:
            if got != cluster.cpus:
                self._notes.append(f"{cluster.title}: some of these CPUs are off by now")
            self.clusters[index] = cluster = replace(cluster, cpus=got, pinned=True)
            return self._child(cluster, seconds)

    def _child(self, cluster: Cluster, seconds: float) -> Child:
        request = {
            "cluster": asdict(cluster),
            "started": time.monotonic(),  # one clock for all processes
            "seconds": seconds,
            "repetitions": self._plan.repetitions,
            "most_seconds": self._plan.most_seconds,
            "sustained": self._plan.sustained,
        }
        # NumPy's BLAS only says what is right; its threads would stay awake.
        return Child("octavo.bench.device.worker", request, environment(1))

    def _take(self, index: int, answer: Mapping[str, Any], tell: Tell) -> None:
        if "steps" in answer:
            self._steps, self._taken = answer["steps"], 0
        if "missing" in answer:
            self._notes.append(answer["missing"])
        if "result" in answer:
            result = {"cluster": index, **answer["result"]}
            self._results.append(result)
            self._disturbed.append(answer["disturbed"])
            self._taken += 1
            done = (index + self._taken / self._steps) / len(self.clusters)
            tell(self.clusters[index], result, min(1.0, done))
        if "throttling" in answer:
            self._throttling.append({"cluster": index, **answer["throttling"]})
            if answer["energy"] is not None:
                self._energy.append({"cluster": index, **answer["energy"]})

    def _note_circumstances(self) -> None:
        if _backend.name != "native":
            self._notes.append(
                f"the NumPy backend ({_backend.reason}): one thread, its limits are estimates"
            )
        load, cpus = self.machine["load_average"], self.machine["cpus"]
        allowed = int(_backend.backend.default_num_threads())
        if _backend.name == "native" and allowed < cpus:
            self._notes.append(
                f"of {cpus} CPUs the process may use {allowed} at a time: all threads share those"
            )
        if load is None:
            self._notes.append("the system does not tell its load")
        elif load > _BUSY * cpus:
            self._notes.append(
                f"the machine was busy before: load average {load:.1f} on {cpus} CPUs"
            )

    def _afterthoughts(self) -> Iterator[str]:
        """Say what was seen meanwhile, and what not."""
        busy = report.busy_note([{"disturbed": reason} for reason in self._disturbed])
        if busy:
            yield busy
        for one in self._throttling:
            title = self.clusters[one["cluster"]].title
            if one["last"] < THROTTLED * one["first"]:
                doubt = ", or other programs took its time" if busy else ""
                yield f"{title}: slowed down to {one['last'] / one['first']:.0%} under load{doubt}"
            if one["celsius"] is None:
                yield "no temperature can be read"
            if one["mhz"] is None:
                yield f"{title}: scaling_cur_freq cannot be read"
        if self._meter is not None and self._throttling and not self._energy:
            yield f"{self._meter.source}: what it says is no power"


def _machine(files: SystemFiles, found: Sequence[Cluster]) -> dict[str, Any]:
    """Return what the file says of the machine as a whole."""
    info = describe()
    board = files.text("proc/device-tree/model")
    if info["cpu"] == info["arch"]:  # Linux on ARM names cores only
        info["cpu"] = " + ".join(cluster.name for cluster in found)
    return {
        "cpu": board or info["cpu"],
        "arch": info["arch"],
        "system": info["system"],
        "tiers": info["isa_tiers"],
        "tier": info["isa"],
        "compiler": info["compiler"],
        "cpus": len(clusters.usable_cpus() or range(os.cpu_count() or 1)),
        "memory_bytes": memory_bytes(),
        "backend": info["backend"],
        "python": info["python"],
        "numpy": info["numpy"],
        "load_average": info["load_average"],
    }
