# SPDX-License-Identifier: Apache-2.0
"""When int8 pays on a machine: our int8 against the fastest float32 that was measured with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from octavo.bench.report import duration, table

OURS = ("octavo", "octavo int8")
FLOAT = "float32"


@dataclass(frozen=True)
class Verdict:
    """One case: our time, the fastest float32 engine's, and the band of their ratio.

    Attributes
    ----------
    ratio : float
        Float32's time over int8's: above 1, int8 is faster.
    low, high : float
        The ratio of float32's fastest round over int8's slowest, and the opposite.
    disturbed : str
        Why the ratio says little, "" if it says what it should.
    """

    case: str
    isa: str
    threads: int
    seconds: float
    rival: str
    rival_seconds: float
    low: float
    high: float
    disturbed: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster int8 is."""
        return self.rival_seconds / self.seconds

    @property
    def verdict(self) -> str:
        """Whether int8 "pays" or "loses", is "even" (within chance) or "unclear"."""
        if self.disturbed:
            return "unclear"
        if self.low > 1:
            return "pays"
        return "loses" if self.high < 1 else "even"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain JSON values, derived figures included."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "ratio": self.ratio, "verdict": self.verdict}


def verdicts(rows: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """Hold each int8 row against the float32 rows that were timed in turns with it."""
    found = []
    for group in _groups(rows):
        mine = next((row for row in group if row["engine"] in OURS), None)
        rivals = [row for row in group if row["engine"].endswith(FLOAT)]
        if mine is None or not rivals:
            continue
        rival = min(rivals, key=lambda row: float(row["seconds"]))
        found.append(
            Verdict(
                mine["case"],
                mine["isa"],
                mine["threads"],
                mine["seconds"],
                rival["engine"],
                rival["seconds"],
                rival["low"] / mine["high"],
                rival["high"] / mine["low"],
                mine.get("disturbed", "") or rival.get("disturbed", ""),
            )
        )
    return found


def _groups(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Split rows into the runs in which they took turns: one case, each engine once."""
    groups: list[list[Mapping[str, Any]]] = []
    key, engines = None, set[str]()
    for row in rows:
        where = (row["case"], row["threads"])
        if where != key or row["engine"] in engines:
            groups.append([])
            key, engines = where, set()
        groups[-1].append(row)
        engines.add(row["engine"])
    return groups


_WORDS = (
    ("even", "about even"),
    ("loses", "float32 is faster"),
    ("unclear", "the machine was too busy to tell"),
)


def summary(found: list[Verdict]) -> str:
    """Return one sentence: on how many cases int8 pays, and which are the others."""
    clear = [v for v in found if not v.disturbed]
    parts = [f"int8 pays on {sum(v.verdict == 'pays' for v in clear)} of {len(clear)} cases"]
    for verdict, words in _WORDS:
        cases = [f"{v.case} (T={v.threads})" for v in found if v.verdict == verdict]
        if cases:
            parts.append(f"{words}: {', '.join(cases)}")
    return "; ".join(parts if clear else parts[1:])


def faster(verdict: Verdict, sign: str = "x") -> str:
    """Return the ratio as text, "?" where it would say little."""
    return "?" if verdict.disturbed else f"{verdict.ratio:.2f}{sign}"


def text(found: list[Verdict], columns: int | None = None) -> str:
    """Return the table of verdicts and the summary, narrow where `columns` asks for it."""
    lines = [
        (
            v.case,
            v.isa,
            str(v.threads),
            duration(v.seconds),
            duration(v.rival_seconds),
            v.rival,
            faster(v),
            "?" if v.disturbed else f"{v.low:.2f} .. {v.high:.2f}",
            v.verdict,
        )
        for v in found
    ]
    header = ("case", "isa", "T", "int8", "float32", "engine", "faster", "band", "verdict")
    shown = table(header, lines)
    if columns is not None and max(map(len, shown.splitlines())) > columns:
        shown = "\n".join(f"{v.case} T={v.threads}:\n  {faster(v)}, {v.verdict}" for v in found)
    return f"{shown}\n{summary(found)}"
