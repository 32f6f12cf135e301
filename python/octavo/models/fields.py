# SPDX-License-Identifier: Apache-2.0
"""Fields of a config.json, checked."""

from __future__ import annotations

from typing import Any

from octavo._text import shown

# Hugging Face's names for activations -> ours.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


def size(raw: dict[str, Any], key: str, default: Any = None) -> int:
    """Return a positive integer."""
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(key, value, "a positive integer")
    return value


def number(raw: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    """Return a number in [low, high)."""
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < high:
        raise wrong(key, value, f"a number in [{low:g}, {high:g})")
    return float(value)


def flag(raw: dict[str, Any], key: str) -> bool:
    """Return a boolean, false if there is none."""
    value = raw.get(key, False)
    if not isinstance(value, bool):
        raise wrong(key, value, "true or false")
    return value


def activation(raw: dict[str, Any], key: str, default: Any = None) -> str:
    """Return an activation by octavo's name."""
    value = raw.get(key, default)
    if not isinstance(value, str) or value not in _ACTIVATIONS:
        known = ", ".join(sorted(_ACTIVATIONS))
        raise ValueError(f"config.json: {key} is {shown(value)}, supported: {known}")
    return _ACTIVATIONS[value]


def wrong(key: str, value: Any, expected: str) -> ValueError:
    """Return the error of a field that is not as expected."""
    return ValueError(f"config.json: {key} is {shown(value)}, expected {expected}")
