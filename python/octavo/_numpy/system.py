# SPDX-License-Identifier: Apache-2.0
"""What the NumPy backend says about itself: one tier, one thread, no kernels of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo._types import Array
from octavo._version import __version__

_TIER = "numpy"
SMALLEST_KEPT = 1 << 63
"""Bytes of results from which `empty` knows more than NumPy: none are so large."""


def isa_tiers() -> list[str]:
    """Tiers this process can use, best first."""
    return [_TIER]


def compiled_isa_tiers() -> list[str]:
    """Tiers this build holds, usable on this CPU or not."""
    return [_TIER]


def get_isa() -> str:
    """Return the tier in use."""
    return _TIER


def set_isa(name: str | None) -> None:
    """Force a tier, or return to the best one with None."""
    if name not in (None, _TIER):
        raise ValueError(f"isa: expected one of {isa_tiers()} on the NumPy backend, got {name!r}")


def get_num_threads() -> int:
    """Return 1: NumPy's BLAS has its own setting, which this package leaves alone."""
    return 1


def set_num_threads(n: int) -> None:
    """Accept any positive count; results never depend on it and this backend has one thread."""
    if n < 1:
        raise ValueError(f"n: expected at least 1 thread, got {n}")


def default_num_threads() -> int:
    """Thread count used when none is set."""
    return 1


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array for a result, of any values."""
    return np.empty(shape, dtype)


def result_cache() -> tuple[int, int, int]:
    """Bytes of memory to keep for results, bytes kept, buffers: NumPy's allocator has its own."""
    return 0, 0, 0


def limit_result_cache(limit: int) -> None:
    """Accept any limit, and keep nothing."""


def cpu_features() -> dict[str, bool]:
    """No feature is probed without native code."""
    return {}


def families() -> list[str]:
    """Names of the kernel families: none here."""
    return []


def kernels(family: str) -> list[dict[str, Any]]:
    """Kernels of one family, best first."""
    raise ValueError(f"family: expected one of {families()}, got {family!r}")


def version() -> str:
    """Version of the backend, equal to the package's."""
    return __version__


def compiler() -> str:
    """Say what built the backend."""
    return f"none (NumPy {np.__version__})"
