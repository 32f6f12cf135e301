# SPDX-License-Identifier: Apache-2.0
"""The machine's two limits: the int8 dot unit and memory, measured when they are needed.

A job of `ops` operations over `nbytes` bytes cannot end before
``max(ops / unit, nbytes / bandwidth)``; the share of the roofline that a benchmark row prints is
that time over the time it took. One multiply-add counts as two operations.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from octavo import _backend, runtime
from octavo.bench import blas

PROBE_BYTES = 32 << 20
"""A read or copy probe passes over its buffer until at least this many bytes went by."""

MIN_PASSES = 5
MIN_BYTES = 4096
_TURN_BYTES = 4 << 20
"""The native probes repeat passes over less than this by themselves."""


def limit_seconds(ops: float, nbytes: float, *, dot_gops: float, read_gbs: float) -> float:
    """Return the shortest time the machine could need, in seconds."""
    if dot_gops <= 0 or read_gbs <= 0:
        raise ValueError(
            f"dot_gops, read_gbs: expected positive rates, got {dot_gops} and {read_gbs}"
        )
    return max(ops / (dot_gops * 1e9), nbytes / (read_gbs * 1e9))


def _repeats(nbytes: int, least: int = 1) -> int:
    return max(MIN_PASSES, -(-PROBE_BYTES // max(nbytes, least)))


def _is_native(name: str) -> bool:
    return hasattr(_backend.backend, name)


def source() -> str:
    """``"native"`` if the tier's own probes are there, else ``"numpy"`` (estimates)."""
    probes = ("bench_dot_peak", "bench_read", "bench_copy")
    return "native" if all(map(_is_native, probes)) else "numpy"


def dot_peak(seconds: float = 0.02, threads: int | None = None) -> float:
    """Return the int8 dot unit's peak in GOP/s for `threads` threads (default: those in use).

    The native probe runs the tier's dot instruction on registers, on all threads at once; the
    NumPy estimate is a float32 matrix product, which is what the fallback computes with.
    """
    count = runtime.get_num_threads() if threads is None else threads
    if _is_native("bench_dot_peak"):
        probe = _backend.backend.bench_dot_peak
        with ThreadPoolExecutor(max(1, count - 1)) as others:
            running = [others.submit(probe, seconds) for _ in range(count - 1)]
            return float(probe(seconds)) + sum(float(one.result()) for one in running)
    a = np.ones((256, 256), np.float32)
    out = np.empty_like(a)
    best = 0.0
    with blas.limited(count):
        end = time.perf_counter() + seconds
        while best == 0.0 or time.perf_counter() < end:
            start = time.perf_counter()
            np.matmul(a, a, out=out)
            best = max(best, 2 * 256**3 / (time.perf_counter() - start) / 1e9)
    return best


def read_speed(nbytes: int) -> float:
    """Return the streaming read speed in GB/s over a buffer of `nbytes`, current threads."""
    nbytes = max(MIN_BYTES, int(nbytes))
    if _is_native("bench_read"):
        return float(_backend.backend.bench_read(nbytes, _repeats(nbytes, _TURN_BYTES)))
    buffer = np.ones(nbytes // 4, np.float32)
    float(np.dot(buffer, buffer))
    passes = _repeats(nbytes)
    start = time.perf_counter()
    for _ in range(passes):
        np.dot(buffer, buffer)
    return nbytes * passes / (time.perf_counter() - start) / 1e9


def copy_speed(nbytes: int) -> float:
    """Return the copy speed in GB/s for a source of `nbytes`; bytes read and written both count."""
    nbytes = max(MIN_BYTES, int(nbytes))
    if _is_native("bench_copy"):
        return float(_backend.backend.bench_copy(nbytes, _repeats(nbytes, _TURN_BYTES)))
    origin = np.ones(nbytes, np.uint8)
    target = np.zeros(nbytes, np.uint8)
    passes = _repeats(nbytes)
    start = time.perf_counter()
    for _ in range(passes):
        np.copyto(target, origin)
    return 2 * nbytes * passes / (time.perf_counter() - start) / 1e9


def measure(threads: int | None = None, nbytes: int = 64 << 20) -> dict[str, Any]:
    """Measure the limits of the tier in use, for a number of threads, over a buffer of `nbytes`."""
    if nbytes <= 0:
        raise ValueError(f"nbytes: expected a positive size, got {nbytes}")
    before = runtime.get_num_threads()
    count = before if threads is None else threads
    try:
        if threads is not None:
            runtime.set_num_threads(threads)
        return {
            "threads": count,
            "isa": runtime.get_isa(),
            "source": source(),
            "dot_gops": dot_peak(threads=count),
            "read_gbs": read_speed(nbytes),
            "copy_gbs": copy_speed(nbytes // 2),
            "nbytes": nbytes,
        }
    finally:
        runtime.set_num_threads(before)
