# SPDX-License-Identifier: Apache-2.0
"""Fields of a recipe as a dict or a file has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from octavo._text import shown


def known(fields: object, part: type, where: str) -> dict[str, Any]:
    """Return the fields that are not None; refuse what `part`, a dataclass, does not have."""
    if not isinstance(fields, Mapping):
        raise TypeError(f"recipe: {where[:-1]}: expected fields, got {type(fields).__name__}")
    allowed = [field.name for field in dataclasses.fields(part)]
    for key in fields:
        if key not in allowed:
            got = shown(f"{where}{key}")
            raise ValueError(f"recipe: expected the fields {', '.join(allowed)}, got {got}")
    return {key: value for key, value in fields.items() if value is not None}


def names(value: object, where: str) -> tuple[str, ...]:
    """Return a list of layer names as a tuple."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{where}: expected a list of names, got {shown(value)}")
    return tuple(value)


def set_fields(part: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults, tuples as lists."""
    found = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value != field.default:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found
