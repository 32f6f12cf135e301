# SPDX-License-Identifier: Apache-2.0
"""Levels of memory, and buffers that lie in each."""

from __future__ import annotations

import os

from octavo.bench.device.clusters import Cluster

DRAM = "DRAM"
USUAL_CACHES = {1: 32 << 10, 2: 512 << 10}
"""Where a system does not tell its caches; L2 is taken for one that all CPUs share."""

_LEAST_DRAM, _MOST_DRAM = 64 << 20, 256 << 20


def memory_bytes() -> int | None:
    """Return the memory of the machine, where the system tells it."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return total if total > 0 else None


def buffers(cluster: Cluster, threads: int, memory: int | None) -> dict[str, int]:
    """Return the bytes to read of each level, for a number of the cluster's CPUs.

    Examples
    --------
    >>> a53 = Cluster("a53", (0, 1, 2, 3), caches={1: 32768, 2: 524288}, sharing={1: 1, 2: 4})
    >>> buffers(a53, 4, None)
    {'L1': 65536, 'L2': 262144, 'DRAM': 67108864}
    """
    caches = cluster.caches or USUAL_CACHES
    sharing = cluster.sharing or {1: 1, 2: len(cluster.cpus)}
    found, largest = {}, 0
    for level, size in sorted(caches.items()):
        instances = -(-threads // sharing.get(level, 1))
        found[f"L{level}"] = size // 2 * instances
        largest = max(largest, size * instances)
    most = _MOST_DRAM if memory is None else min(_MOST_DRAM, memory // 8)
    found[DRAM] = min(max(_LEAST_DRAM, 4 * largest), most)
    return found
