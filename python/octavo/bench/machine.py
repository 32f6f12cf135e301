# SPDX-License-Identifier: Apache-2.0
"""What a figure was measured on: processor, caches, compiler, tier, threads, versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from octavo import runtime
from octavo.bench import blas

DEFAULT_L2_BYTES = 1 << 20


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def parse_size(text: str) -> int:
    """Turn ``"512K"``, ``"32M"`` or ``"4096"`` into bytes."""
    units = {"K": 10, "M": 20, "G": 30}
    text = text.strip().upper().removesuffix("B").removesuffix("I")
    shift = units.get(text[-1:], 0)
    return int(text[:-1] if shift else text) << shift


@cache
def cache_bytes(level: int) -> int | None:
    """Return the size of the data cache of `level` that the first CPU sees, if it is known."""
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, size = _read(folder / "type"), _read(folder / "size")
        if kind in ("Data", "Unified") and size and _read(folder / "level") == str(level):
            return parse_size(size)
    return None


def l2_bytes() -> int:
    """Return the size of L2, or a usual one where the system does not say."""
    return cache_bytes(2) or DEFAULT_L2_BYTES


def page_faults(call: Callable[[], Any]) -> int | None:
    """Return how many pages the system has to bring for a warm call, where it counts them."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _load_average() -> float | None:
    """Return the load of the last minute; some systems have none, or keep it to themselves."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def describe() -> dict[str, Any]:
    """Return the machine and the build as plain JSON values."""
    info = runtime.cpu_info()
    return {
        "cpu": info["cpu"],
        "arch": info["machine"],
        "system": f"{platform.system()} {platform.release()}",
        "cpus": info["default_num_threads"],
        "load_average": _load_average(),
        "l2_bytes": cache_bytes(2),
        "l3_bytes": cache_bytes(3),
        "octavo": info["version"],
        "backend": info["backend"],
        "compiler": info["compiler"],
        "isa": info["isa"],
        "isa_tiers": info["isa_tiers"],
        "threads": info["num_threads"],
        "python": info["python"],
        "numpy": info["numpy"],
        "numpy_blas_threads": blas.threads(),
    }
