# SPDX-License-Identifier: Apache-2.0
"""Busy machines: known, said on screen, page and JSON, and no headline made of chance."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench_rows import row_json
from octavo import timing
from octavo.bench import pays, report
from octavo.bench.cases import time_case
from octavo.report import content

if TYPE_CHECKING:
    from collections.abc import Callable


class Machine:
    """Two CPUs with clocks of their own; calls take what they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.own = self.worked = 0.0
        clocks = SimpleNamespace(
            perf_counter=lambda: self.wall,
            process_time=lambda: self.own,
            sleep=lambda seconds: setattr(self, "wall", self.wall + seconds),
        )
        monkeypatch.setattr(timing, "time", clocks)
        monkeypatch.setattr(timing, "_worked", lambda: self.worked)
        monkeypatch.setattr(timing, "_cpus", lambda: {0, 1})

    def call(
        self, seconds: float | Callable[[], float], own: float = 1.0, others: float = 0.0
    ) -> Callable[[], None]:
        """Make a call of that length: CPUs that it has, and that others have meanwhile."""

        def run() -> None:
            length = seconds() if callable(seconds) else seconds
            self.wall += length
            self.own += own * length
            self.worked += (own + others) * length

        return run

    def rows(self, ours: Callable[[], None], numpy: Callable[[], None], threads: int) -> list[Any]:
        calls = {"octavo": ours, "numpy float32": numpy}
        where = "linear", "1x32x32", threads
        rates = {"copy": lambda: 10.0}
        made = time_case(where, calls, (2048, 1300), "numpy float32", probes=rates, seconds=0.7)
        return [row.to_json() for row in made]


def disturbed_at_times(usual: float, disturbed: float) -> Callable[[], float]:
    lengths = iter([usual, *[usual, usual, disturbed] * 1000])
    return lambda: next(lengths)


def test_a_quiet_machine_has_a_headline(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    rows = machine.rows(machine.call(0.01, own=2), machine.call(0.03, own=2), threads=2)
    assert [row["disturbed"] for row in rows] == ["", ""]
    assert [row["vs_numpy"] for row in rows] == pytest.approx([3, 1])
    assert content.cards(None, rows)[0].value == "3.00× faster"
    assert report.busy_note(rows) == ""


def test_disturbed_rounds_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    slow = disturbed_at_times(0.1, 30.0)
    rows = machine.rows(machine.call(0.1), machine.call(slow), threads=1)
    assert [row["seconds"] for row in rows] == pytest.approx([0.1, 0.1])
    assert [row["high"] for row in rows] == pytest.approx([0.1, 0.1])
    assert content.cards(None, rows)[0].value == "about even"


@pytest.mark.parametrize(
    ("threads", "own", "others", "why"),
    [
        (2, 1.0, 1.0, "other programs had 1.0 of 2 CPUs"),
        (1, 0.5, 1.5, "other programs had 1.5 of 2 CPUs"),
        (1, 1.0, 1.0, ""),  # each has a CPU
        (1, 0.5, 0.5, "it had a CPU for 50% of the time"),  # a quota, say
    ],
)
def test_a_busy_machine_has_none(
    monkeypatch: pytest.MonkeyPatch, threads: int, own: float, others: float, why: str
) -> None:
    machine = Machine(monkeypatch)
    ours = machine.call(0.01, own=own, others=others)
    rows = machine.rows(ours, machine.call(16.6, own=own, others=others), threads)
    assert [row["disturbed"] for row in rows] == [why, why]
    if not why:
        return
    assert [row["vs_numpy"] for row in rows] == [None, None]
    (found,) = pays.verdicts(json.loads(json.dumps(rows)))
    assert found.to_json()["verdict"] == "unclear"
    shown = [
        pays.text([found]),
        pays.text([found], 20),
        *(f"{card.value} {card.text}" for card in content.cards(None, rows)),
        content.machine_line({}, rows),
        *(report.row_line(report.row_of(row)) for row in rows),
    ]
    assert not any("1660" in text for text in shown)
    assert "the machine was busy: 2 of 2 rows disturbed" in shown[-3]
    assert shown[2].startswith("not told The machine was busy")
    assert shown[3] == f"not told the machine was too busy to tell: 1x32x32 (T={threads})"


def test_rounds_that_differ_carry_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    lengths = iter([0.1, 0.1, *[0.1, 9.0] * 1000])
    rows = machine.rows(machine.call(0.1), machine.call(lambda: next(lengths)), threads=1)
    assert [row["disturbed"] for row in rows] == ["", "rounds differ by 90.0x"]
    assert [row["vs_numpy"] for row in rows] == [None, None]


def test_means_are_of_clear_cases() -> None:
    rows = []
    for case, seconds, why in (("1x8x8", 3e-6, ""), ("2x8x8", 9e-4, "rounds differ by 3.0x")):
        rows += [row_json(case, "octavo", 1e-6, disturbed="")]
        rows += [row_json(case, "numpy float32", seconds, disturbed=why)]
    speed, cases = content.cards(None, rows)
    assert speed.value == "3.00× faster"
    assert "of 1 cases (1 disturbed ones left out)" in speed.text
    assert cases.value == "1 of 1 cases"
    assert "too busy to tell: 2x8x8" in cases.text
