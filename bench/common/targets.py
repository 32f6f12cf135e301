# SPDX-License-Identifier: Apache-2.0
"""What the rows must reach, and the table that says whether they did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from octavo.bench.report import table
from octavo.timing import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Row = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One line of the table; `met` is None where nothing was measured."""

    target: str
    wanted: str
    measured: str
    met: bool | None
    where: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def at_least(
    name: str,
    bound: float,
    values: Sequence[tuple[float, str]],
    form: Callable[[float], str] = "{:.2f}x".format,
) -> Target:
    """Return the target "every value >= bound"; it shows the worst value and how many miss."""
    return _worst(name, f">= {form(bound)}", values, form, lambda value: value >= bound, min)


def at_most(
    name: str,
    bound: float,
    values: Sequence[tuple[float, str]],
    form: Callable[[float], str] = "{:.2f}".format,
) -> Target:
    """Return the target "every value <= bound"."""
    return _worst(name, f"<= {form(bound)}", values, form, lambda value: value <= bound, max)


def _worst(
    name: str,
    wanted: str,
    values: Sequence[tuple[float, str]],
    form: Callable[[float], str],
    good: Callable[[float], bool],
    pick: Callable[..., tuple[float, str]],
) -> Target:
    if not values:
        return Target(name, wanted, "not measured", None)
    misses = sum(not good(value) for value, _ in values)
    value, where = pick(values, key=lambda pair: pair[0])
    if misses:
        where = f"{where}; {misses} of {len(values)} miss"
    return Target(name, wanted, form(value), misses == 0, where)


def mean_at_least(name: str, bound: float, values: Sequence[tuple[float, str]]) -> Target:
    """Return the target "geometric mean >= bound"."""
    wanted = f">= {bound:.2f}x"
    if not values:
        return Target(name, wanted, "not measured", None)
    mean = geometric_mean([value for value, _ in values])
    return Target(name, wanted, f"{mean:.2f}x", mean >= bound, f"{len(values)} rows")


def percent(value: float) -> str:
    return f"{value:.0%}"


def by_case(rows: Iterable[Row]) -> dict[tuple[str, int], dict[str, Row]]:
    """Group rows: (case, threads) -> engine -> row."""
    groups: dict[tuple[str, int], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["threads"]), {})[row["engine"]] = row
    return groups


def fastest(engines: dict[str, Row], kind: str) -> Row | None:
    """Return the fastest row of that kind in one group."""
    rows = [row for row in engines.values() if row["extra"].get("kind") == kind]
    return min(rows, key=lambda row: float(row["seconds"]), default=None)


def format_table(targets: Sequence[Target]) -> str:
    """Return the met/not met table."""
    verdicts = {True: "met", False: "NOT MET", None: "-"}
    header = ("target", "wanted", "measured", "verdict", "where")
    lines = [
        (item.target, item.wanted, item.measured, verdicts[item.met], item.where)
        for item in targets
    ]
    return table(header, lines)
