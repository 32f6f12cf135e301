# SPDX-License-Identifier: Apache-2.0
"""What a figure was measured on: processor, caches, compiler, tier, threads, versions."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from octavo import _backend, runtime
from octavo.bench import blas

DEFAULT_L2_BYTES = 1 << 20


def backend() -> Any:
    """Return the module that computes: ``_core`` or the NumPy fallback."""
    return _backend.backend


def threads_in_use() -> int:
    """Return how many threads the library may use now."""
    return int(runtime.get_num_threads())


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def parse_size(text: str) -> int:
    """Turn ``"512K"``, ``"32M"`` or ``"4096"`` into bytes.

    Examples
    --------
    >>> parse_size("512K"), parse_size("2M"), parse_size("64")
    (524288, 2097152, 64)
    """
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


@cache
def cpu_model() -> str:
    """Return the processor's name, as far as the system tells it."""
    text = _read(Path("/proc/cpuinfo")) or ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def describe() -> dict[str, Any]:
    """Return the machine and the build as plain JSON values.

    Examples
    --------
    >>> info = describe()
    >>> info["threads"] >= 1 and info["isa"] in info["isa_tiers"]
    True
    """
    core = backend()
    return {
        "cpu": cpu_model(),
        "arch": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": int(core.default_num_threads()),
        "l2_bytes": cache_bytes(2),
        "l3_bytes": cache_bytes(3),
        "octavo": str(core.version()),
        "backend": str(_backend.name),
        "compiler": str(core.compiler()),
        "isa": str(runtime.get_isa()),
        "isa_tiers": [str(name) for name in runtime.isa_tiers()],
        "threads": threads_in_use(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "numpy_blas_threads": blas.threads(),
    }
