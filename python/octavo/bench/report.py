# SPDX-License-Identifier: Apache-2.0
"""Rows, tables and the JSON document that every benchmark writes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from octavo.bench import files
from octavo.bench.machine import describe
from octavo.timing import Timing, disturbance

SCHEMA = 1
COLUMNS = (
    ("case", -27),
    ("engine", -20),
    ("isa", -10),
    ("T", 2),
    ("time", 8),
    ("band", 10),
    ("GOP/s", 6),
    ("GB/s", 6),
    ("roofline", 8),
    ("vs numpy", 8),
)
"""Title and width of each column; negative widths are set to the left."""

DROPPED = ("GB/s", "GOP/s", "isa", "band", "roofline", "T")
"""What goes first where a terminal is too narrow for all columns."""


@dataclass(frozen=True)
class Row:
    """One engine on one case. `seconds` is the median round, `low` and `high` the extremes.

    They are of the rounds that count (`octavo.timing.Timing`); `disturbed` says why they tell
    little if other programs kept the machine busy.
    """

    bench: str
    case: str
    engine: str
    isa: str
    threads: int
    seconds: float
    low: float
    high: float
    ops: int
    nbytes: int
    limit_seconds: float | None = None
    vs_numpy: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    disturbed: str = ""

    @property
    def gops(self) -> float:
        """Billions of operations per second."""
        return self.ops / self.seconds / 1e9

    @property
    def gbs(self) -> float:
        """Billions of bytes per second."""
        return self.nbytes / self.seconds / 1e9

    @property
    def share(self) -> float | None:
        """The part of the roofline reached, where the limit is known."""
        if self.limit_seconds is None:
            return None
        return self.limit_seconds / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values, derived figures included."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "gops": self.gops, "gbs": self.gbs, "share": self.share}


def row_of(values: Mapping[str, Any]) -> Row:
    """Return the row that :meth:`Row.to_json` made `values` of."""
    # Files of before a busy machine was noticed lack the last field.
    fields = {"disturbed": "", **values}
    return Row(**{name: fields[name] for name in Row.__dataclass_fields__})


def make_row(
    where: tuple[str, str, str, str, int],
    timing: Timing,
    work: tuple[int, int],
    *,
    limit: float | None = None,
    numpy: Timing | None = None,
    others: float | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Row:
    """Build a row from (bench, case, engine, isa, threads), a timing and (operations, bytes)."""
    disturbed = disturbance(timing, others, where[-1])
    ratio = None
    if numpy is not None and not disturbed and not disturbance(numpy, others, where[-1]):
        ratio = numpy.median / timing.median
    figures = timing.median, timing.low, timing.high
    return Row(*where, *figures, *work, limit, ratio, dict(extra or {}), disturbed)


def busy_note(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return how many rows of a document are disturbed and why the first, "" if none is.

    Examples
    --------
    >>> busy_note([{"disturbed": "rounds differ by 3.0x"}, {"disturbed": ""}])
    'the machine was busy: 1 of 2 rows disturbed (rounds differ by 3.0x); time them again'
    """
    reasons = [row.get("disturbed", "") for row in rows]
    found = [reason for reason in reasons if reason]
    if not found:
        return ""
    count = f"{len(found)} of {len(reasons)} rows disturbed ({found[0]})"
    return f"the machine was busy: {count}; time them again"


def duration(seconds: float) -> str:
    """Format a time with three digits and a unit.

    Examples
    --------
    >>> duration(2.345e-6), duration(0.0123), duration(4e-8)
    ('2.35 us', '12.3 ms', '40.0 ns')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor:
            return f"{_three(seconds / factor)} {unit}"
    return f"{_three(seconds / 1e-9)} ns"


def _three(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cells(row: Row) -> tuple[str, ...]:
    """Return the row as the strings of a table line."""
    # A disturbed round can be many times slower; its exact size says nothing.
    below, above = row.low / row.seconds - 1, min(row.high / row.seconds - 1, 9.99)
    band = f"{below:+.0%} {above:+.0%}"
    return (
        row.case,
        row.engine,
        row.isa,
        str(row.threads),
        duration(row.seconds),
        band,
        _three(row.gops),
        _three(row.gbs),
        "-" if row.share is None else f"{row.share:.0%}",
        "-" if row.vs_numpy is None else f"{row.vs_numpy:.2f}x",
    )


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lay out lines under a header: text to the left, figures to the right.

    Examples
    --------
    >>> print(table(("case", "time"), [("a", "1 us"), ("long", "20 us")]))
    case   time
    a      1 us
    long  20 us
    """
    body = [tuple(header), *map(tuple, lines)]
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    left = {"case", "engine", "isa", "target", "measured", "verdict", "where"}
    out = []
    for line in body:
        parts = [
            text.ljust(width) if name in left else text.rjust(width)
            for text, width, name in zip(line, widths, header, strict=True)
        ]
        out.append("  ".join(parts).rstrip())
    return "\n".join(out)


def _shown(columns: int | None) -> list[int]:
    """Return the indices of the columns of the table that fit, none where even few do not."""
    kept = list(range(len(COLUMNS)))
    for dropped in (None, *DROPPED):
        kept = [index for index in kept if COLUMNS[index][0] != dropped]
        needed = sum(abs(COLUMNS[index][1]) + 2 for index in kept) - 2
        if columns is None or needed <= columns:
            return kept
    return []


def _line(texts: Sequence[str], shown: Iterable[int]) -> str:
    parts = []
    for index in shown:
        text, width = texts[index], COLUMNS[index][1]
        parts.append(text.ljust(-width) if width < 0 else text.rjust(width))
    return "  ".join(parts).rstrip()


def header_line(columns: int | None = None) -> str:
    """Return the titles above :func:`row_line`, for a terminal of `columns` if given."""
    return _line([title for title, _ in COLUMNS], _shown(columns)) or "case: engine, time, vs numpy"


def row_line(row: Row, columns: int | None = None) -> str:
    """Return one row as text of fixed widths, so that rows can be printed as they come.

    A terminal too narrow for all columns gets the important ones; one too narrow for those, a
    line for each.
    """
    texts = cells(row)
    line = _line(texts, _shown(columns))
    case, engine, time, versus = texts[0], texts[1], texts[4], texts[9]
    return line or f"{case}:\n  {engine}\n  {time} {versus}"


def document(
    bench: str, rows: Sequence[Row], settings: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """Return the JSON document: schema, machine, settings, rows and whatever `more` adds."""
    return {
        "schema": SCHEMA,
        "bench": bench,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": describe(),
        "settings": dict(settings),
        "rows": [row.to_json() for row in rows],
        **more,
    }


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a document; the file appears whole or not at all."""
    files.write_text(path, json.dumps(content, indent=1) + "\n")
