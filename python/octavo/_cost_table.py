# SPDX-License-Identifier: Apache-2.0
"""The table by which `octavo.tuning` chooses: costs shipped with octavo, or measured and kept."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from pkgutil import get_data
from typing import Any, cast

from octavo import _backend, runtime
from octavo._files import read_bytes, replaced_file
from octavo._formats import SPARSE_FORMATS
from octavo._text import parsed_json, shown
from octavo._warn import warn

ROWS = (1, 4, 16, 64, 256)
"""The numbers of rows for which a table has costs."""

BYTES = "bytes"
"""Where a table has the cost of reading 64 bytes from beyond L2."""

_SCHEMA = 1
_MOST_BYTES = 1 << 20
_RENAMED = {
    "slots16": "windowed16",
    "slots64": "windowed64",
    "csr": "bsr1x1",
    "blocks16x4": "bsr16x4",
    "blocks1x4": "bsr1x4",
    "blocks4x1": "bsr4x1",
}
"""What files written before the first release call formats."""

_MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError)


@lru_cache(maxsize=1)
def _shipped() -> dict[str, dict[str, tuple[float, ...]]]:
    """Return tier -> format or `BYTES` -> costs, from the file that says where they come from."""
    # Also out of an archive that the package was imported from.
    table = json.loads(cast("bytes", get_data("octavo", "tuning_costs.json")))
    return {
        tier: {name: tuple(values) for name, values in entry["costs"].items()}
        for tier, entry in table.items()
    }


def _defaults(tier: str) -> dict[str, tuple[float, ...]]:
    """Return the shipped costs of a tier, or of the next lower one that has some."""
    shipped = _shipped()
    known = _backend.backend.compiled_isa_tiers()  # best first
    below = known[known.index(tier) :] if tier in known else [tier]
    for name in below:
        if name in shipped:
            return shipped[name]
    names = ", ".join(dict.fromkeys((*known, *shipped)))
    raise ValueError(f"tier: expected one of {names}, got {shown(tier)}")


def costs(tier: str | None = None) -> dict[str, tuple[float, ...]]:
    """Return the table in use for a tier: format, or `BYTES` -> one cost for each of `ROWS`.

    Parameters
    ----------
    tier : str, optional
        The tier in use, unless given.

    Raises
    ------
    ValueError
        For an unknown tier, or a broken file of `save`; the message names it.

    Examples
    --------
    >>> import octavo
    >>> sorted(octavo.tuning.costs("avx2"))
    ['bitmap', 'bsr16x4', 'bsr1x1', 'bsr1x4', 'bsr4x1', 'bytes', 'windowed16', 'windowed64']
    """
    name = runtime.get_isa() if tier is None else tier
    return _saved(runtime.tuning_file()).get(name) or _defaults(name)


def save(table: Mapping[str, Mapping[str, tuple[float, ...]]], path: os.PathLike[str]) -> None:
    """Write a table (tier -> format or `BYTES` -> costs) for this CPU, for `costs` to read.

    It is read by processes whose `octavo.runtime.tuning_file` is `path`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": _SCHEMA, "cpu": runtime.cpu_info()["cpu"], "rows": ROWS, "costs": table}
    with replaced_file(target) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
    _saved.cache_clear()


def read(path: os.PathLike[str]) -> dict[str, dict[str, tuple[float, ...]]]:
    """Read a file of `save`; a table of another CPU counts as none.

    What the file's version did not have yet, a format or `BYTES`, costs what is shipped.

    Raises
    ------
    ValueError
        Where the file does not hold such a table; the message names it.
    """
    try:
        content = parsed_json(read_bytes(path, _MOST_BYTES))
        if content["schema"] != _SCHEMA or tuple(content["rows"]) != ROWS:
            raise ValueError("another schema")
        table = {
            tier: _tier_costs(tier, {_RENAMED.get(name, name): formats[name] for name in formats})
            for tier, formats in content["costs"].items()
            if tier in _shipped()
        }
        cpu = content["cpu"]
    except (*_MALFORMED, ValueError) as error:
        raise ValueError(
            f"{path}: expected a table written by `octavo tune`, got {shown(str(error))};"
            " delete the file or run `octavo tune` again"
        ) from None
    return table if cpu == runtime.cpu_info()["cpu"] else {}


def _tier_costs(tier: str, formats: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    names = (*SPARSE_FORMATS, BYTES)
    measured = {name: _costs(formats[name]) for name in names if name in formats}
    if not measured:
        raise ValueError(f"no costs for {tier}")
    return _defaults(tier) | measured


def _costs(values: Any) -> tuple[float, ...]:
    made = tuple(float(value) for value in values)
    if len(made) != len(ROWS) or not all(0 < value < math.inf for value in made):
        raise ValueError(f"costs {values}")
    return made


@lru_cache(maxsize=1)
def _saved(path: Path | None) -> dict[str, dict[str, tuple[float, ...]]]:
    try:
        return {} if path is None else read(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        # A service may have the home of another user, which it may not enter.
        message = f"{error}; sparse layers go by the costs that are shipped with octavo"
        warn(message)
        return {}
