# SPDX-License-Identifier: Apache-2.0
"""Made-up ``/sys`` trees of devices, and made-up files of what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo.bench.device.measure import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CPU = "sys/devices/system/cpu"

PARTS = {"cortex-x2": 0xD48, "cortex-a710": 0xD47, "cortex-a510": 0xD46, "cortex-a53": 0xD03}


def write_tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below `root`, folders included; return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def arm_core(cpu: int, part: str, capacity: int, khz: int) -> dict[str, str]:
    """Return the files of an ARM core with two caches; four neighbours share the second."""
    folder, first = f"{CPU}/cpu{cpu}", cpu // 4 * 4
    files = {
        f"{folder}/cpu_capacity": f"{capacity}\n",
        f"{folder}/cpufreq/cpuinfo_max_freq": f"{khz}\n",
        f"{folder}/cpufreq/scaling_cur_freq": f"{khz // 2}\n",
        f"{folder}/regs/identification/midr_el1": f"0x00000000410f{PARTS[part] << 4:04x}\n",
    }
    for index, (kind, level, size, shared) in enumerate(
        (
            ("Data", 1, "32K", f"{cpu}"),
            ("Instruction", 1, "64K", f"{cpu}"),
            ("Unified", 2, "512K", f"{first}-{first + 3}"),
        )
    ):
        cache = f"{folder}/cache/index{index}"
        files |= {
            f"{cache}/type": f"{kind}\n",
            f"{cache}/level": f"{level}\n",
            f"{cache}/size": f"{size}\n",
            f"{cache}/shared_cpu_list": f"{shared}\n",
        }
    return files


def three_clusters() -> dict[str, str]:
    """Return a phone: four little cores, three big ones, a prime one."""
    files = {f"{CPU}/present": "0-7\n", f"{CPU}/online": "0-7\n"}
    for cpu in range(8):
        kind = ("cortex-a510", 325, 1_800_000)
        if cpu >= 4:
            kind = ("cortex-a710", 828, 2_500_000)
        if cpu == 7:
            kind = ("cortex-x2", 1024, 3_000_000)
        files |= arm_core(cpu, *kind)
    return files


def result(kind: str, case: str, value: float, **more: Any) -> dict[str, Any]:
    """Return a result of a file."""
    return {
        "cluster": 0,
        "threads": 1,
        "kind": kind,
        "case": case,
        "tier": "scalar",
        "value": value,
        "unit": UNITS[kind],
        "least": value * 0.95,
        "most": value * 1.05,
        "first": value,
        "last": value,
        "repetitions": 5,
        "share": None,
        **more,
    }


def document(*results: dict[str, Any], names: tuple[str, ...] = ("cpu",)) -> dict[str, Any]:
    """Return a file with these results."""
    clusters = [
        {
            "name": name,
            "cpus": [index],
            "pinned": True,
            "max_mhz": 2000,
            "capacity": None,
            "caches": {"1": 32768},
        }
        for index, name in enumerate(names)
    ]
    load = {
        "cluster": 0,
        "threads": 1,
        "seconds": 5.0,
        "first": 100.0,
        "last": 80.0,
        "unit": "GOP/s",
        "mhz": [2000, 1600],
        "celsius": [40.0, 70.5],
        "sensor": "cpu-thermal",
    }
    return {
        "format": "octavo-device",
        "version": 1,
        "program": "octavo bench --device",
        "octavo": "0.1.0",
        "when": "2026-01-31T12:00:00Z",
        "seconds": 40.0,
        "complete": True,
        "machine": {
            "cpu": "a phone",
            "arch": "aarch64",
            "system": "Linux 6.1",
            "tiers": ["scalar"],
            "tier": "scalar",
            "compiler": "clang 19",
            "cpus": len(names),
            "memory_bytes": 1 << 32,
        },
        "clusters": clusters,
        "results": list(results),
        "throttling": {"seen": True, "clusters": [load]},
        "energy": {
            "source": "battery bms",
            "clusters": [{"cluster": 0, "seconds": 5.0, "watts": 4.5, "idle_watts": None}],
        },
        "notes": ["a note"],
    }
