# SPDX-License-Identifier: Apache-2.0
"""Which format makes a sparse weight fastest on a tier: a small table, shipped or measured.

A cost is the time of one unit of a format's work over the time of 64 products of the dense layer,
on the same tier, for some number of rows.  A unit is a step of 64 slots; of "bsr1x1" it is 16
fours of weights, the last of an output filled up; of "bitmap" a group of 64 weights, zeros
included; of "bsr16x4" a block of 64 weights that are not all zero (for AMX, a sixteenth of a tile
that is not); of "bsr1x4" and "bsr4x1" 16 blocks of 4 such weights.  One row takes at least the
format's share of the dense bytes.  A format pays where units times cost stay below the groups of
the dense layer.

`measure` makes such a table (``octavo tune`` on the command line), `save` keeps it for later
processes on this CPU, `costs` returns what is in use.
"""

from __future__ import annotations

import bisect
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from pkgutil import get_data
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from octavo import _backend, _checks, runtime
from octavo._files import read_bytes, replaced_file
from octavo._formats import SPARSE_FORMATS
from octavo._text import parsed_json, shown
from octavo._warn import warn

__all__ = ["ROWS", "SPARSE_FORMATS", "choose", "costs", "format_cost", "read", "save"]

_RENAMED = {
    "slots16": "windowed16",
    "slots64": "windowed64",
    "csr": "bsr1x1",
    "blocks16x4": "bsr16x4",
    "blocks1x4": "bsr1x4",
    "blocks4x1": "bsr4x1",
}
"""What files written before the first release call formats."""

ROWS = (1, 4, 16, 64, 256)
"""The numbers of rows for which a table has costs."""

_SCHEMA = 1
_MOST_BYTES = 1 << 20
MOST_INPUTS = 65536
"""How many inputs a sparse format takes."""

_SAMPLED_PANELS = 32
_MARGIN = 1.04
"""A format must promise this much more speed than the dense one, for every number of rows."""


@lru_cache(maxsize=1)
def _shipped() -> dict[str, dict[str, tuple[float, ...]]]:
    """Return tier -> format -> costs, from the file that also says where they come from."""
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
    """Return the table in use for a tier: format -> one cost for each of `ROWS`.

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
    ['bitmap', 'bsr16x4', 'bsr1x1', 'bsr1x4', 'bsr4x1', 'windowed16', 'windowed64']
    """
    name = runtime.get_isa() if tier is None else tier
    return _saved(runtime.tuning_file()).get(name) or _defaults(name)


def format_cost(codes: NDArray[np.int8], name: str) -> tuple[int, int]:
    """Return a format's units of work on codes (N, K), and its bytes.

    The bytes leave out the column sums, which all formats have.  Units are those of the tier in
    use.

    Parameters
    ----------
    codes : int8 array, shape (N, K)
    name : str
        "dense" or one of `SPARSE_FORMATS`.

    Raises
    ------
    ValueError
        For another name, or more inputs than the format takes.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.tuning.format_cost(np.eye(64, dtype=np.int8), "bitmap")
    (64, 672)
    """
    units, nbytes = _backend.backend.format_cost(np.ascontiguousarray(codes), name)
    return int(units), int(nbytes)


def choose(codes: NDArray[np.int8], rows: int | Sequence[int] | None = None) -> str:
    """Return the format for codes (N, K): fast, never slower than "dense", nor larger.

    Of the formats that lose to "dense" for no number of rows it is the one that stays nearest to
    the best of them: whose worst ratio to it, over the numbers of rows, is smallest.  Formats are
    compared on a sample of the rows, the one chosen is checked on all of them.

    Parameters
    ----------
    codes : int8 array, shape (N, K)
    rows : int or sequence of int, optional
        How many rows calls will have; the others then do not count.  A number between two of
        `ROWS` stands for both.

    Raises
    ------
    TypeError, ValueError
        For rows that are no positive integers.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.tuning.choose(np.ones((64, 64), np.int8))
    'dense'
    """
    places = _places(rows)
    n, k = codes.shape
    if _backend.name != "native" or n * k == 0 or k > MOST_INPUTS:
        return "dense"
    codes = np.ascontiguousarray(codes)
    sample = _sample(codes)
    # Blocks of 66 bytes for 64 weights are the smallest form of few zeros.
    if 66 * int(np.count_nonzero(sample)) > 64 * 64 * format_cost(sample, "dense")[0]:
        return "dense"
    found = {}
    for name in SPARSE_FORMATS:
        gains = _gains(sample, name, places)
        if gains:
            found[name] = gains
    best = [max(column) for column in zip(*found.values(), strict=True)]
    worst = {
        name: max(top / own for top, own in zip(best, gains, strict=True))
        for name, gains in found.items()
    }
    for name in sorted(found, key=worst.__getitem__):
        if sample is codes or _gains(codes, name, places):
            return name
    return "dense"


def _gains(codes: NDArray[np.int8], name: str, places: list[int]) -> list[float]:
    """Return a format's speed over the dense one; empty where it is larger, or slower somewhere."""
    groups, dense_size = format_cost(codes, "dense")
    units, size = format_cost(codes, name)
    if size > dense_size:
        return []
    times = [units * cost for cost in costs()[name]]
    times[0] = max(times[0], size / 64)
    gains = [groups / times[place] for place in places]
    return gains if min(gains) >= _MARGIN else []


def _places(rows: int | Sequence[int] | None) -> list[int]:
    """Return which of `ROWS` stand for these numbers of rows."""
    if rows is None:
        return list(range(len(ROWS)))
    wanted = list(rows) if isinstance(rows, (list, tuple, range, np.ndarray)) else [rows]
    if not wanted:
        raise ValueError("rows: expected at least one number, got none")
    places: set[int] = set()
    for count in wanted:
        number = _checks.integer(count, "rows", 1)
        last = len(ROWS) - 1
        places.add(min(last, bisect.bisect_left(ROWS, number)))
        places.add(max(0, bisect.bisect_right(ROWS, number) - 1))
    return sorted(places)


_MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError)


def _sample(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return whole panels of 16 rows, one from each of `_SAMPLED_PANELS` parts; or all codes."""
    panels = len(codes) // 16
    if panels <= _SAMPLED_PANELS:
        return codes
    ends = np.linspace(0, panels, _SAMPLED_PANELS + 1).astype(np.intp)
    picked = np.random.default_rng(0).integers(ends[:-1], ends[1:])
    rows = (16 * picked[:, None] + np.arange(16)).reshape(-1)
    return codes[rows]


def save(table: Mapping[str, Mapping[str, tuple[float, ...]]], path: os.PathLike[str]) -> None:
    """Write a table (tier -> format -> costs) for this CPU; `costs` reads it from then on.

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

    Formats that the file's version did not have yet keep the costs shipped with this one.

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
    measured = {name: _costs(formats[name]) for name in SPARSE_FORMATS if name in formats}
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
