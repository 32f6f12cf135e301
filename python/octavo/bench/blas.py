# SPDX-License-Identifier: Apache-2.0
"""Threads of the OpenBLAS that NumPy's wheels carry, so that its float32 gets as many as ours."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads64_",
    "openblas_{}_num_threads",
)


@cache
def _functions() -> tuple[Any, Any] | None:
    """Find (get, set) in the library that NumPy has already loaded; None for another BLAS."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs", package / ".libs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for name in _NAMES:
                if hasattr(library, name.format("set")):
                    getter = getattr(library, name.format("get"))
                    setter = getattr(library, name.format("set"))
                    getter.restype, setter.argtypes = ctypes.c_int, [ctypes.c_int]
                    setter.restype = None
                    return getter, setter
    return None


def threads() -> int | None:
    """Return the threads NumPy's OpenBLAS uses, or None where they cannot be asked."""
    found = _functions()
    return None if found is None else int(found[0]())


@contextmanager
def limited(count: int) -> Iterator[bool]:
    """Hold NumPy's OpenBLAS to `count` threads; yields False where that cannot be done.

    Examples
    --------
    >>> with limited(1) as done:
    ...     threads() == 1 if done else True
    True
    """
    found = _functions()
    if found is None:
        yield False
        return
    getter, setter = found
    before = int(getter())
    setter(count)
    try:
        yield True
    finally:
        setter(before)
