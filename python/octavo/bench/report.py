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
from octavo.bench.columns import Columns
from octavo.bench.machine import describe
from octavo.timing import Timing, disturbance

SCHEMA = 1
COLUMNS = Columns(
    (
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
    ),
    dropped=("GB/s", "GOP/s", "isa", "band", "roofline", "T"),
)


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
            return f"{three_digits(seconds / factor)} {unit}"
    return f"{three_digits(seconds / 1e-9)} ns"


def three_digits(value: float) -> str:
    """Format a positive number with three digits, or more before the point."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def band_of(low: float, median: float, high: float) -> str:
    """Format how far the extremes lie from the median.

    Examples
    --------
    >>> band_of(0.9, 1.0, 1.25)
    '-10% +25%'
    """
    # A disturbed round can be many times slower; its exact size says nothing.
    return f"{low / median - 1:+.0%} {min(high / median - 1, 9.99):+.0%}"


def cells(row: Row) -> tuple[str, ...]:
    """Return the row as the strings of a table line."""
    band = band_of(row.low, row.seconds, row.high)
    return (
        row.case,
        row.engine,
        row.isa,
        str(row.threads),
        duration(row.seconds),
        band,
        three_digits(row.gops),
        three_digits(row.gbs),
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


def header_line(columns: int | None = None) -> str:
    """Return the titles above :func:`row_line`, for a terminal of `columns` if given."""
    return COLUMNS.header(columns) or "case: engine, time, vs numpy"


def row_line(row: Row, columns: int | None = None) -> str:
    """Return one row as text of fixed widths, so that rows can be printed as they come.

    A terminal too narrow for all columns gets the important ones; one too narrow for those, a
    line for each.
    """
    texts = cells(row)
    line = COLUMNS.line(texts, columns)
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
