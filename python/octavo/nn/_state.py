# SPDX-License-Identifier: Apache-2.0
"""Reading parameters out of a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo import _checks
from octavo._types import Array


def check_keys(
    state: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """Refuse a state dict that lacks a key or has one that nothing would read."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state: expected a mapping, got {type(state).__name__}")
    missing = [key for key in required if key not in state]
    if missing:
        raise ValueError(f"state: expected the key {missing[0]!r}, got {sorted(state)}")
    unknown = [key for key in state if key not in (*required, *optional)]
    if unknown:
        raise ValueError(
            f"state: expected only {', '.join((*required, *optional))}, got {unknown[0]!r}"
        )


def parameter(value: Any, shape: tuple[int | None, ...], name: str) -> Array:
    """Return a parameter as contiguous float32 of `shape`; no copy if it is that already."""
    array = _checks.as_float32(value, name, float64=True)
    _checks.check_shape(array, shape, name)
    return np.ascontiguousarray(array)
