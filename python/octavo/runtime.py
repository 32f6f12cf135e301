# SPDX-License-Identifier: Apache-2.0
"""What runs the kernels: backend, instruction-set tier, threads, memory for results.

`OCTAVO_ISA`, `OCTAVO_NUM_THREADS`, `OCTAVO_RESULT_CACHE` and `OCTAVO_TUNING` are read once, when
octavo is imported; what this CPU or build cannot honour is an error there, never a silent fallback.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from octavo import _backend, _checks
from octavo._version import __version__

__all__ = [
    "ResultCache",
    "cpu_info",
    "get_isa",
    "get_num_threads",
    "isa_tiers",
    "result_cache",
    "set_num_threads",
    "set_result_cache",
    "tuning_file",
    "use_isa",
]

# A thread takes memory and a start; nobody means more than this.
_MOST_THREADS = 4096
_MOST_BYTES = 2**40


def isa_tiers() -> list[str]:
    """Return the instruction-set tiers this process can use, best first.

    Examples
    --------
    >>> import octavo
    >>> octavo.runtime.get_isa() in octavo.runtime.isa_tiers()
    True
    """
    return list(_backend.backend.isa_tiers())


_WITHOUT_FMA = frozenset({"scalar", "sse41"})


def has_fma() -> bool:
    """Return whether kernels have fused multiply-adds here, which some tiers make in software."""
    return _backend.name == "native" and not _WITHOUT_FMA.issuperset(isa_tiers())


def get_isa() -> str:
    """Return the tier in use: the best one, unless one was forced.

    Examples
    --------
    >>> import octavo
    >>> octavo.runtime.get_isa() in octavo.runtime.isa_tiers()
    True
    """
    return str(_backend.backend.get_isa())


class use_isa:  # noqa: N801 - reads as a function, like numpy.errstate
    """Force a tier, from now on or for the length of a `with` block; None: the best one.

    The setting is one for the whole process.  Results do not depend on it.

    Examples
    --------
    >>> import octavo
    >>> tier = octavo.runtime.isa_tiers()[-1]
    >>> with octavo.runtime.use_isa(tier):
    ...     octavo.runtime.get_isa() == tier
    True
    """

    def __init__(self, name: str | None) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name: expected a tier or None, got {type(name).__name__}")
        self._backend = _backend.backend
        self._before = self._backend.get_isa()
        _force(name, "name")

    def __enter__(self) -> use_isa:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._backend.set_isa(self._before)


def _force(name: str | None, source: str) -> None:
    backend = _backend.backend
    if name is not None and name not in backend.isa_tiers():
        tiers = ", ".join(backend.isa_tiers())
        known = name in backend.compiled_isa_tiers()
        why = "is not supported by this CPU" if known else "is not a tier of this build"
        hint = "; OCTAVO_BACKEND=numpy selects the NumPy backend" if name == "numpy" else ""
        raise ValueError(f"{source}: expected one of {tiers}, got {name!r}, which {why}{hint}")
    backend.set_isa(name)


def get_num_threads() -> int:
    """How many threads a call may use.

    Examples
    --------
    >>> import octavo
    >>> octavo.runtime.get_num_threads() >= 1
    True
    """
    return int(_backend.backend.get_num_threads())


def set_num_threads(n: int) -> None:
    """Let a call use up to `n` threads; results do not depend on it.

    The NumPy backend accepts any count and stays at one thread of its own.

    Examples
    --------
    >>> import octavo
    >>> octavo.runtime.set_num_threads(1)
    >>> octavo.runtime.get_num_threads()
    1
    """
    _backend.backend.set_num_threads(_checks.integer(n, "n", 1, _MOST_THREADS))


class ResultCache(NamedTuple):
    """Memory that the process keeps for results.

    Attributes
    ----------
    limit : int
        Bytes that it keeps at most.
    nbytes, buffers : int
        What it keeps now; memory of arrays that are still there does not count.

    Examples
    --------
    >>> import octavo
    >>> octavo.runtime.result_cache().buffers <= 16
    True
    """

    limit: int
    nbytes: int
    buffers: int


def result_cache() -> ResultCache:
    """Return how much memory is kept for results, and the bound.

    Results from 1 MiB up lie in memory that goes back to this cache with the last array that sees
    it, and that the next result of about its size gets: pages of the operating system are slow to
    come.  At most 16 buffers are kept, and 128 MiB unless `OCTAVO_RESULT_CACHE` or
    `set_result_cache` say otherwise; the oldest go first.  The NumPy backend keeps none.

    Examples
    --------
    >>> import octavo
    >>> cache = octavo.runtime.result_cache()
    >>> cache.nbytes <= cache.limit
    True
    """
    return ResultCache(*_backend.backend.result_cache())


def set_result_cache(limit: int) -> None:
    """Keep at most `limit` bytes for results, from now on; 0 gives all back, and keeps none.

    Examples
    --------
    >>> import octavo
    >>> before = octavo.runtime.result_cache().limit
    >>> octavo.runtime.set_result_cache(0)
    >>> octavo.runtime.result_cache()
    ResultCache(limit=0, nbytes=0, buffers=0)
    >>> octavo.runtime.set_result_cache(before)
    """
    _backend.backend.limit_result_cache(_checks.integer(limit, "limit", 0, _MOST_BYTES))


def cpu_info() -> dict[str, Any]:
    """Say what octavo runs on and why.

    Returns
    -------
    dict
        version, backend ("native" or "numpy"), backend_reason, isa, isa_tiers, compiled_isa_tiers,
        num_threads, default_num_threads, result_cache (bytes kept at most), cpu, machine,
        logical_cpus, features, compiler, python, numpy.

    Examples
    --------
    >>> import octavo
    >>> octavo.runtime.cpu_info()["isa"] == octavo.runtime.get_isa()
    True
    """
    backend = _backend.backend
    return {
        "version": __version__,
        "backend": _backend.name,
        "backend_reason": _backend.reason,
        "isa": get_isa(),
        "isa_tiers": isa_tiers(),
        "compiled_isa_tiers": list(backend.compiled_isa_tiers()),
        "num_threads": get_num_threads(),
        "default_num_threads": int(backend.default_num_threads()),
        "result_cache": result_cache().limit,
        "cpu": _cpu_name(),
        "machine": platform.machine(),
        "logical_cpus": os.cpu_count() or 1,
        "features": dict(backend.cpu_features()),
        "compiler": str(backend.compiler()),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def tuning_file() -> Path | None:
    """Return where ``octavo tune`` keeps its table: `OCTAVO_TUNING`, or a file in the home folder.

    None where there is no home folder, or where `OCTAVO_TUNING` is empty: then the defaults hold.

    Examples
    --------
    >>> import octavo
    >>> octavo.runtime.tuning_file()  # doctest: +SKIP
    PosixPath('/home/ann/.octavo/tuning.json')
    """
    return _TUNING_FILE


def _find_tuning_file() -> Path | None:
    given = os.environ.get("OCTAVO_TUNING")
    if given is not None:
        return Path(given) if given.strip() else None
    try:
        return Path.home() / ".octavo" / "tuning.json"
    except RuntimeError:
        return None


_TUNING_FILE = _find_tuning_file()


def _cpu_name() -> str:
    """Return the model name the operating system gives, or the architecture."""
    if sys.platform in ("linux", "android"):
        try:
            with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    key, _, value = line.partition(":")
                    if key.strip() in ("model name", "Model", "Hardware"):
                        return value.strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()


def _apply_environment() -> None:
    isa = os.environ.get("OCTAVO_ISA", "").strip()
    if isa:
        _force(isa, "OCTAVO_ISA")
    threads = _number_in("OCTAVO_NUM_THREADS", "threads", 1, _MOST_THREADS)
    if threads is not None:
        _backend.backend.set_num_threads(threads)
    kept = _number_in("OCTAVO_RESULT_CACHE", "bytes", 0, _MOST_BYTES)
    if kept is not None:
        _backend.backend.limit_result_cache(kept)


def _number_in(variable: str, unit: str, low: int, high: int) -> int | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{variable}: expected a number of {unit}, got {text!r}") from None
    return _checks.integer(number, variable, low, high)


_apply_environment()
