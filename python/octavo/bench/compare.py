# SPDX-License-Identifier: Apache-2.0
"""Compare two result files row by row, with the noise band of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = ("bench", "case", "engine", "isa", "threads")


@dataclass(frozen=True)
class Change:
    """One row in both files; `ratio` is head over base, so below 1 is faster."""

    key: tuple[str, ...]
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the band leaves room for chance: "faster", "slower" or "same"."""
        if self.high < 1:
            return "faster"
        return "slower" if self.low > 1 else "same"


@dataclass(frozen=True)
class Comparison:
    """All changes, and the rows that only one of the files has."""

    changes: tuple[Change, ...]
    only_base: tuple[tuple[str, ...], ...]
    only_head: tuple[tuple[str, ...], ...]

    @property
    def geometric_mean(self) -> float:
        """The geometric mean of all ratios."""
        return geometric_mean([change.ratio for change in self.changes])


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean (NaN for an empty list).

    Examples
    --------
    >>> round(geometric_mean([1.0, 4.0]), 6)
    2.0
    """
    if not values:
        return math.nan
    return math.exp(sum(map(math.log, values)) / len(values))


def _rows(document: Mapping[str, Any], name: str) -> dict[tuple[str, ...], Mapping[str, Any]]:
    rows = document.get("rows")
    if not isinstance(rows, list):
        raise ValueError(f"{name}: expected a result file with a list 'rows'")
    found = {}
    for index, row in enumerate(rows):
        missing = [key for key in (*KEY, "seconds", "low", "high") if key not in row]
        if missing:
            raise ValueError(f"{name}: row {index} has no {', '.join(missing)}")
        found[tuple(str(row[key]) for key in KEY)] = row
    return found


def compare(base: Mapping[str, Any], head: Mapping[str, Any]) -> Comparison:
    """Compare two documents as the benchmarks write them with ``--json``.

    The band of a ratio runs from the fastest head round over the slowest base round to the
    opposite; a row counts as changed only where the whole band lies on one side of 1.

    Examples
    --------
    >>> row = dict(bench="linear", case="1x8x8", engine="octavo", isa="scalar", threads=1)
    >>> base = {"rows": [dict(row, seconds=2.0, low=1.9, high=2.1)]}
    >>> head = {"rows": [dict(row, seconds=1.0, low=0.9, high=1.1)]}
    >>> change = compare(base, head).changes[0]
    >>> change.ratio, change.verdict
    (0.5, 'faster')
    """
    old, new = _rows(base, "base"), _rows(head, "head")
    changes = [
        Change(
            key,
            new[key]["seconds"] / old[key]["seconds"],
            new[key]["low"] / old[key]["high"],
            new[key]["high"] / old[key]["low"],
        )
        for key in old
        if key in new
    ]
    return Comparison(
        tuple(changes),
        tuple(key for key in old if key not in new),
        tuple(key for key in new if key not in old),
    )
