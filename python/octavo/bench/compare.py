# SPDX-License-Identifier: Apache-2.0
"""Compare two result files row by row, with the noise band of both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from octavo import _checks
from octavo._files import read_bytes
from octavo._text import parsed_json
from octavo.bench.report import table
from octavo.timing import geometric_mean

KEY = ("bench", "case", "engine", "isa", "threads")
_MOST_BYTES = 64 << 20
SAME = ("cpu", "compiler", "octavo", "backend", "isa", "numpy")
"""What of the machine should be the same in both files, or else is said."""


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

    def to_json(self, engine: str = "") -> dict[str, Any]:
        """Return the changes of engines with that word in their name, as plain JSON values."""
        rows = [
            {**asdict(change), "key": list(change.key), "verdict": change.verdict}
            for change in self.changes
            if engine in change.key[2]
        ]
        return {"schema": 1, "bench": "compare", "rows": rows}


def _rows(document: Mapping[str, Any], name: str) -> dict[tuple[str, ...], Mapping[str, Any]]:
    rows = document.get("rows")
    if not isinstance(rows, list):
        raise ValueError(f"{name}: expected a result file with a list 'rows'")
    found = {}
    for index, row in enumerate(rows):
        missing = [key for key in (*KEY, "seconds", "low", "high") if key not in row]
        if missing:
            raise ValueError(f"{name}: row {index} has no {', '.join(missing)}")
        for key in KEY:
            if not isinstance(row[key], (str, int)):
                kind = type(row[key]).__name__
                raise ValueError(f"{name}: row {index}: {key}: expected a name, got {kind}")
        for key in ("seconds", "low", "high"):
            if _checks.real(row[key], f"{name}: row {index}: {key}") <= 0:
                raise ValueError(
                    f"{name}: row {index}: {key}: expected more than 0, got {row[key]}"
                )
        found[tuple(str(row[key]) for key in KEY)] = row
    return found


def compare(base: Mapping[str, Any], head: Mapping[str, Any]) -> Comparison:
    """Compare two documents as the benchmarks write them with ``--json``.

    The band of a ratio runs from the fastest head round over the slowest base round to the
    opposite; a row counts as changed only where the whole band lies on one side of 1.
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


def changed_machine(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that both files were not measured alike on.

    Examples
    --------
    >>> changed_machine({"machine": {"cpu": "A"}}, {"machine": {"cpu": "B"}})
    ['cpu: A -> B']
    """
    lines = []
    for key in SAME:
        one, two = (document.get("machine", {}).get(key) for document in (base, head))
        if one != two:
            lines.append(f"{key}: {one} -> {two}")
    return lines


def text(result: Comparison, engine: str = "", changed_only: bool = False) -> str:
    """Return the comparison as a table, the rows in one file alone, and the mean.

    `engine` keeps the engines with this word in their name; `changed_only` leaves out rows whose
    band has room for chance.
    """
    chosen = [change for change in result.changes if engine in change.key[2]]
    if not chosen:
        raise ValueError("the two files have no rows in common")
    shown = [change for change in chosen if not changed_only or change.verdict != "same"]
    header = ("case", "engine", "isa", "T", "head/base", "band", "verdict")
    lines = [table(header, map(_cells, shown))]
    for name, keys in (("base", result.only_base), ("head", result.only_head)):
        if keys:
            lines.append(f"only in {name}: {len(keys)} rows")
    mean = geometric_mean([change.ratio for change in chosen])
    lines.append(f"geometric mean of head/base: {mean:.3f} over {len(chosen)} rows")
    return "\n".join(lines)


def _cells(change: Change) -> tuple[str, ...]:
    _, case, engine, isa, threads = change.key
    band = f"{change.low:.2f} .. {change.high:.2f}"
    return case, engine, isa, threads, f"{change.ratio:.3f}", band, change.verdict


def slower(result: Comparison, bound: float, engine: str = "") -> list[Change]:
    """Return the changes above `bound` whose whole band says slower.

    The band must exclude chance as well: a noisy row alone is no regression.
    """
    return [
        change
        for change in result.changes
        if engine in change.key[2] and change.ratio > bound and change.verdict == "slower"
    ]


def load(path: str | os.PathLike[str]) -> Any:
    """Return what the JSON of a file says, of whatever kind it is.

    Raises
    ------
    OSError, ValueError
        If it cannot be read or is not JSON; the message names it.
    """
    try:
        return parsed_json(read_bytes(path, _MOST_BYTES))
    except OSError as error:
        raise OSError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a result file ({error})") from None


def check(document: Any, name: object) -> dict[str, Any]:
    """Return what `load` found in the file of that name, if it is a result file.

    Raises
    ------
    ValueError
        If it is none; the message names it.
    """
    if not isinstance(document, dict) or not isinstance(document.get("rows"), list):
        raise ValueError(f"{name}: not a result file: no list 'rows'")
    if not all(isinstance(part, dict) for part in (*document["rows"], document.get("machine", {}))):
        raise ValueError(f"{name}: not a result file: rows and machine are no objects")
    return document


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a result file; see `load` and `check`."""
    return check(load(path), path)
