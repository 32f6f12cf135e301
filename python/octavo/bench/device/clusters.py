# SPDX-License-Identifier: Apache-2.0
"""The kinds of CPUs of a machine: big and little cores, performance and efficiency cores."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from octavo.bench.device.files import SystemFiles, format_cpus
from octavo.bench.device.parts import core_parts
from octavo.bench.machine import parse_size

MOST_CLUSTERS = 6
"""More kinds of CPUs would not be measured in a minute; no device has so many."""

_CPU = "sys/devices/system/cpu"
_HYBRID = {
    "performance": "sys/devices/cpu_core/cpus",
    "efficiency": "sys/devices/cpu_atom/cpus",
    "low-power": "sys/devices/cpu_lowpower/cpus",
}
"""Where x86 lists the cores of each kind."""

_HIGHEST_LEVEL = 4
_MOST_MHZ = 20_000


@dataclass(frozen=True)
class Cluster:
    """CPUs of one kind.

    Attributes
    ----------
    name : str
        The part ("cortex-a76"), "performance" or "efficiency", "cpu" where there is one kind.
    cpus : tuple of int
        Their numbers, rising.
    max_mhz, capacity : int or None
        As the system says.
    caches : dict of int to int
        Bytes of the data cache of each level, as far as known.
    sharing : dict of int to int
        How many of these CPUs share one, by level.
    pinned : bool
        Whether threads were held to them.
    """

    name: str
    cpus: tuple[int, ...]
    max_mhz: int | None = None
    capacity: int | None = None
    caches: dict[int, int] = field(default_factory=dict)
    sharing: dict[int, int] = field(default_factory=dict)
    pinned: bool = False

    @property
    def title(self) -> str:
        """Name and CPUs, for messages."""
        return f"{self.name} (CPU {format_cpus(self.cpus)})"

    def to_json(self) -> dict[str, Any]:
        """Return what the file says of it."""
        return {
            "name": self.name,
            "cpus": list(self.cpus),
            "pinned": self.pinned,
            "max_mhz": self.max_mhz,
            "capacity": self.capacity,
            "caches": {str(level): size for level, size in sorted(self.caches.items())},
        }


class _Kind(NamedTuple):
    """What CPUs of a cluster have in common."""

    name: str
    capacity: int | None
    max_mhz: int | None


def usable_cpus() -> tuple[int, ...] | None:
    """Return the CPUs this process may use; None where the system has no such list."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return tuple(sorted(os.sched_getaffinity(0)))


def find(files: SystemFiles, usable: tuple[int, ...] | None) -> tuple[list[Cluster], list[str]]:
    """Return the clusters, the fastest first, and notes on what the system does not tell.

    `usable` is what `usable_cpus` found; without it, all CPUs are one cluster.
    """
    if usable is None:
        count = os.cpu_count() or 1
        notes = ["threads cannot be held to CPUs on this system: all CPUs are taken together"]
        only = _cluster(files, _Kind("cpu", None, None), tuple(range(count)))
        return [only], [*notes, *_without_caches([only])]
    notes = _absences(files, usable)
    online = files.cpus(f"{_CPU}/online")
    cpus = usable if online is None else tuple(cpu for cpu in usable if cpu in online)
    cpus = cpus or usable
    kinds: dict[_Kind, list[int]] = {}
    parts = core_parts(files)
    hybrid = {name: files.cpus(path) or () for name, path in _HYBRID.items()}
    for cpu in cpus:
        kinds.setdefault(_kind(files, cpu, parts, hybrid), []).append(cpu)
    found = [_cluster(files, kind, tuple(members)) for kind, members in kinds.items()]
    found.sort(key=_speed, reverse=True)
    if len(found) > MOST_CLUSTERS:
        rest = ", ".join(one.title for one in found[MOST_CLUSTERS:])
        notes.append(f"more than {MOST_CLUSTERS} kinds of CPUs: left out are {rest}")
        del found[MOST_CLUSTERS:]
    return found, [*notes, *_without_caches(found)]


def _without_caches(found: Iterable[Cluster]) -> list[str]:
    return [
        f"{one.title}: the system does not tell its caches, usual sizes are taken"
        for one in found
        if not one.caches
    ]


def _absences(files: SystemFiles, usable: Iterable[int]) -> list[str]:
    """Say which of the machine's CPUs are not measured, and what is not known of the others."""
    if not files.exists(_CPU):
        return [f"/{_CPU} is not there: kinds of CPUs cannot be told apart"]
    notes = []
    present, online = files.cpus(f"{_CPU}/present"), files.cpus(f"{_CPU}/online")
    if present is None or online is None:
        notes.append(f"/{_CPU}/present or online cannot be read: CPUs that are off are not known")
    else:
        off = tuple(cpu for cpu in present if cpu not in online)
        barred = tuple(cpu for cpu in online if cpu not in set(usable))
        if off:
            notes.append(f"CPU {format_cpus(off)}: offline, not measured")
        if barred:
            notes.append(f"CPU {format_cpus(barred)}: not for this process, not measured")
    if not any(files.exists(f"{_CPU}/cpu{cpu}/cpufreq") for cpu in usable):
        notes.append("no cpufreq: the CPUs' frequencies are not known")
    return notes


def _kind(
    files: SystemFiles, cpu: int, parts: dict[int, str], hybrid: dict[str, tuple[int, ...]]
) -> _Kind:
    for name, members in hybrid.items():
        if cpu in members:
            return _Kind(name, None, None)
    capacity = files.number(f"{_CPU}/cpu{cpu}/cpu_capacity")
    if capacity is not None and capacity <= 0:
        capacity = None
    if cpu in parts:
        return _Kind(parts[cpu], capacity, _max_mhz(files, cpu))
    # On x86 each core of one kind may have a highest clock of its own.
    return _Kind("cpu", capacity, None)


def _max_mhz(files: SystemFiles, cpu: int) -> int | None:
    khz = files.number(f"{_CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq")
    mhz = 0 if khz is None else khz // 1000
    return mhz if 0 < mhz <= _MOST_MHZ else None


def _cluster(files: SystemFiles, kind: _Kind, cpus: tuple[int, ...]) -> Cluster:
    fastest = max((_max_mhz(files, cpu) or 0 for cpu in cpus), default=0)
    caches: dict[int, int] = {}
    sharing: dict[int, int] = {}
    for folder in files.folders(f"{_CPU}/cpu{cpus[0]}/cache", "index[0-9]*"):
        level = files.number(f"{folder}/level")
        size = _size(files.text(f"{folder}/size"))
        kinds = files.text(f"{folder}/type")
        if level is None or not 1 <= level <= _HIGHEST_LEVEL:
            continue
        if kinds in ("Data", "Unified") and size:
            caches[level] = size
            shared = files.cpus(f"{folder}/shared_cpu_list") or cpus[:1]
            sharing[level] = max(1, len(set(shared) & set(cpus)))
    return Cluster(kind.name, cpus, fastest or None, kind.capacity, caches, sharing)


def _size(text: str | None) -> int | None:
    if text is None or re.fullmatch(r"[0-9]{1,9}[KMG]?", text) is None:
        return None
    return parse_size(text)


def _speed(cluster: Cluster) -> tuple[int, int, int, int]:
    """Return what clusters are ordered by; names of x86 are listed from fast to slow."""
    names = list(_HYBRID)
    rank = -names.index(cluster.name) if cluster.name in names else 0
    return rank, cluster.capacity or 0, cluster.max_mhz or 0, -cluster.cpus[0]
