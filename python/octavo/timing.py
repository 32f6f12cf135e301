# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: candidates take turns, round after round, in one process.

Whatever drifts during a run (clock, temperature, neighbours) then meets all candidates alike, and
the ratio of two medians stays meaningful where two separate runs would not. What other programs do
to one of them alone is not shared: the slowest rounds of each are left out, and `disturbance` tells
which figures say little all the same.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

MIN_TURN_SECONDS = 1e-3
"""A turn is made of at least this much work, so that the clock's own cost does not show."""

LONG_CALL_SECONDS = 0.05
"""A call longer than this needs no warm-up of its own at the start of a turn."""

SLOW_CALL_SECONDS = 0.5
"""A candidate whose single call is longer than this takes part in the first rounds only."""

SLOW_ROUNDS = 3


MOST_TAKEN = 0.1
"""The part of the CPUs that a candidate needs which other programs may have."""

_TICK_SECONDS = 0.01

WIDEST_BAND = 2.0
"""The slowest round that counts over the fastest; beyond it the figure is chance."""


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one candidate, one figure a round, and the CPU seconds per second.

    The slowest third of the rounds does not count: being disturbed makes a round slower only.
    """

    rounds: tuple[float, ...]
    calls: int = 1
    cpu: tuple[float, ...] = ()

    @property
    def kept(self) -> list[float]:
        """The rounds that count, in order."""
        return sorted(self.rounds)[: len(self.rounds) - len(self.rounds) // 3]

    @property
    def median(self) -> float:
        """The usual round."""
        return statistics.median(self.kept)

    @property
    def low(self) -> float:
        """The fastest round."""
        return self.kept[0]

    @property
    def high(self) -> float:
        """The slowest round that counts."""
        return self.kept[-1]


@dataclass(frozen=True)
class Measurement:
    """The result of :func:`run`: a `Timing` per candidate and the median of each probe.

    `others` is how many CPUs, of those this process may use, other programs had meanwhile; None
    where the system does not tell.
    """

    timings: dict[str, Timing]
    probes: dict[str, float] = field(default_factory=dict)
    others: float | None = None


def disturbance(timed: Timing, others: float | None = None, threads: int = 1) -> str:
    """Return why a figure says little, "" if it says what it should.

    Examples
    --------
    >>> from octavo.timing import Timing, disturbance
    >>> disturbance(Timing((1.0, 1.1, 9.0))), disturbance(Timing((1.0, 3.0)))
    ('', 'rounds differ by 3.0x')
    """
    cpus = _cpus()
    if others is not None and others - (len(cpus) - threads) > MOST_TAKEN * threads:
        return f"other programs had {others:.1f} of {len(cpus)} CPUs"
    if timed.cpu and max(timed.cpu) < 1 - MOST_TAKEN:
        return f"it had a CPU for {max(timed.cpu):.0%} of the time"
    if timed.high > WIDEST_BAND * timed.low:
        return f"rounds differ by {timed.high / timed.low:.1f}x"
    return ""


def _cpus() -> set[int]:
    """Return the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _worked() -> float | None:
    """Return the seconds that our CPUs have worked, for whom ever; None if the system is silent."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    ours = {f"cpu{number}" for number in _cpus()}
    ticks = 0
    for line in lines:
        name, *counts = line.split()
        if name in ours:
            # user nice system idle iowait irq softirq steal
            ticks += sum(map(int, [*counts[:3], *counts[5:8]]))
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else None


class Others:
    """What other programs do on our CPUs from now on."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time(), _worked()

    def cpus(self) -> float | None:
        """Return how many CPUs they had since."""
        wall, own, worked = self._start
        now = _worked()
        if worked is None or now is None:
            return None
        # Each CPU counts in ticks; what could be rounding is nobody's.
        theirs = now - worked - (time.process_time() - own) - len(_cpus()) * _TICK_SECONDS
        return max(0.0, theirs) / max(time.perf_counter() - wall, 1e-9)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Collect once, then keep the garbage collector away from the timed region."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def settle(limit: float = 0.5) -> float:
    """Sleep until no thread of this process burns CPU; return the seconds that took.

    Thread pools spin for a while after a call (some for more than 100 ms). The next candidate must
    not share its cores with them, so each turn starts when the previous pool is asleep.
    """
    start = time.perf_counter()
    while time.perf_counter() - start < limit:
        wall, cpu = time.perf_counter(), time.process_time()
        time.sleep(0.005)
        if time.process_time() - cpu < 0.05 * (time.perf_counter() - wall):
            break
    return time.perf_counter() - start


def _turn(function: Callable[[], object], calls: int) -> tuple[float, float]:
    """Return seconds a call, and CPU seconds a second."""
    own, start = time.process_time(), time.perf_counter()
    for _ in repeat(None, calls):
        function()
    seconds = time.perf_counter() - start
    return seconds / calls, (time.process_time() - own) / max(seconds, 1e-9)


def estimate(function: Callable[[], object]) -> float:
    """Seconds per call, from a doubling number of calls until a millisecond is filled."""
    calls = 1
    while True:
        seconds, _ = _turn(function, calls)
        if seconds * calls >= MIN_TURN_SECONDS or calls >= 1 << 20:
            return seconds
        calls *= 2


class _Candidate:
    """One function and the turns it has taken."""

    def __init__(
        self, name: str, function: Callable[[], Any], once: float, rounds: int, seconds: float
    ) -> None:
        self.name = name
        self._function = function
        self._calls = max(1, min(1 << 20, int(seconds / rounds / max(once, 1e-9))))
        self._turns = rounds if once < SLOW_CALL_SECONDS else min(rounds, SLOW_ROUNDS)
        self._warm = once < LONG_CALL_SECONDS
        self._turned: list[tuple[float, float]] = []

    def take_turn(self, index: int) -> bool:
        """Time one turn; False if this candidate sits out round `index`."""
        if index >= self._turns:
            return False
        if self._warm:
            self._function()  # untimed: wakes the pool, brings the operands back into cache
        self._turned.append(_turn(self._function, self._calls))
        return True

    def timing(self) -> Timing:
        """Return the turns taken so far."""
        seconds, cpu = zip(*self._turned, strict=True)
        return Timing(seconds, self._calls, cpu)


def run(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 7,
    seconds: float = 0.3,
    check: Callable[[str, Any], None] | None = None,
    probes: Mapping[str, Callable[[], float]] | None = None,
    settled: bool = False,
) -> Measurement:
    """Time `candidates` in turns.

    Parameters
    ----------
    candidates : mapping of name to function without arguments
    rounds : int
        Turns of each candidate; each turn gives one figure.
    seconds : float
        Time a candidate gets over all rounds, as far as whole calls allow.
    check : callable, optional
        ``check(name, result)`` runs on each candidate's result before anything is timed; it raises
        for a wrong answer.
    probes : mapping of name to function, optional
        Functions that return a rate (GOP/s, GB/s), asked once a round; the median is kept.
    settled : bool
        Wait before each turn until the thread pool of the turn before is asleep.

    Examples
    --------
    >>> result = run({"a": lambda: sum(range(100))}, rounds=3, seconds=0.003)
    >>> len(result.timings["a"].rounds), result.timings["a"].low > 0
    (3, True)
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    rates: dict[str, list[float]] = {name: [] for name in probes or {}}
    turns = []
    with gc_paused():
        for name, function in candidates.items():
            result = function()
            if check is not None:
                check(name, result)
            del result
            turns.append(_Candidate(name, function, estimate(function), rounds, seconds))
            if settled:
                settle()
        others = Others()
        for index in range(rounds):
            # Each round starts one later: nobody always follows the same neighbour's cache.
            start = index % max(1, len(turns))
            for candidate in turns[start:] + turns[:start]:
                if candidate.take_turn(index) and settled:
                    settle()
            for name, probe in (probes or {}).items():
                rates[name].append(probe())
        taken = others.cpus()
    return Measurement(
        {candidate.name: candidate.timing() for candidate in turns},
        {name: statistics.median(values) for name, values in rates.items()},
        taken,
    )


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean (NaN for an empty list)."""
    if not values:
        return math.nan
    return math.exp(sum(map(math.log, values)) / len(values))
