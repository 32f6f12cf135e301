# SPDX-License-Identifier: Apache-2.0
"""Runs a target on mutants in a process of its own, and keeps what it should not have done.

A case lies in memory that both processes share before it is tried, so that it survives a crash.
What is slow is tried again alone, so that a busy machine is not taken for a hang.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import multiprocessing
import os
import pickle
import random
import re
import resource
import shutil
import struct
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from fuzz.mutate import Files

LIMIT = 1.0
"""Seconds that a case may take."""
PATIENCE = 20.0
"""Seconds after which a process that is still in one case is ended."""
_MEMORY = 1 << 30
"""Bytes that a case may take beside what the process has."""
_MOST_KEPT = 3000
_SHRINK_SECONDS = 15.0

_process = multiprocessing.get_context("fork")


class Target(NamedTuple):
    """What is tried.

    `seeds` gives files that are read without complaint, `change` a mutant of one.  `read` raises
    one of `refusals` or returns what it found in a folder; `check` then raises if the files mean
    something else.
    """

    name: str
    seeds: Callable[[Path], list[Files]]
    change: Callable[[random.Random, Files], Files]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any], None]
    refusals: tuple[type[BaseException], ...] = (ValueError, OSError, TypeError)
    tries: int = 1  # of a case that is accepted
    longest_message: float = 2000


class Unknown(Exception):  # noqa: N818
    """Raised by a `check` that has nothing to compare with."""


class Outcome(NamedTuple):
    """What came of a case: "accepted", "refused", or what is a finding; and a message."""

    kind: str
    message: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether it should not have happened."""
        return self.kind not in ("accepted", "refused")

    @property
    def signature(self) -> str:
        """What tells it from others: numbers and names do not."""
        text = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", self.message)
        return f"{self.kind} {text[:100]}"


class Finding(NamedTuple):
    """A case that was not met as it should."""

    outcome: Outcome
    files: Files


@dataclass
class Report:
    """What a hunt has seen."""

    target: str
    cases: int = 0
    accepted: int = 0
    calls: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    kept: list[Files] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.cases / max(self.seconds, 1e-9)
        return (
            f"{self.target:12} {self.cases:9} cases, {self.accepted:8} accepted, {self.calls:9}"
            f" calls, {rate:6.0f}/s, {len(self.findings)} findings"
        )


def attempt(target: Target, files: Files, place: Path) -> Outcome:
    """Write a case into an empty folder, read it, check it, and empty the folder."""
    for name, data in files.items():
        path = place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", ResourceWarning)
            return _outcome(target, place)
    finally:
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _outcome(target: Target, place: Path) -> Outcome:
    try:
        found = target.read(place)
    except target.refusals as error:
        message = f"{type(error).__name__}: {error}"
        kind = "refused" if len(message) <= target.longest_message else "long message"
        return Outcome(kind, message.replace(str(place), ""))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome("exception", f"{type(error).__name__}: {error}")
    try:
        with np.errstate(all="ignore"):
            target.check(place, found)
    except Unknown:
        pass
    except Exception as error:
        return Outcome("other meaning", f"{type(error).__name__}: {error}")
    return Outcome("accepted")


class _Board:
    """Memory that a worker shares with its parent: counts, and the case that it is in."""

    _HEAD = struct.Struct("<QQdQ")  # cases, accepted, when this one began or 0, its length

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 << 22)
        self.cases = self.accepted = 0

    def begin(self, files: Files) -> None:
        data = pickle.dumps(files)
        self._memory[self._HEAD.size : self._HEAD.size + len(data)] = data
        self._write(time.monotonic(), len(data))

    def end(self, outcome: Outcome) -> None:
        self.cases += 1
        self.accepted += outcome.kind == "accepted"
        self._write(0.0, 0)

    def _write(self, began: float, length: int) -> None:
        self._memory[: self._HEAD.size] = self._HEAD.pack(self.cases, self.accepted, began, length)

    def duration(self) -> float:
        """Return for how long the case has been going on."""
        began: float = self._HEAD.unpack_from(self._memory)[2]
        return time.monotonic() - began if began else 0.0

    def read(self) -> Files | None:
        """Return the case that a worker which has ended was in; take over its counts."""
        self.cases, self.accepted, began, length = self._HEAD.unpack_from(self._memory)
        if not began:
            return None
        files: Files = pickle.loads(self._memory[self._HEAD.size : self._HEAD.size + length])
        return files


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory("", "fuzz-", memory if memory.is_dir() else None) as place:
        yield Path(place)


def limit_memory() -> None:
    """Let this process take no more than so much; sanitizers reserve more from the start."""
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        return
    used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))


def _work(
    target: Target, seed: str, pool: list[Files], board: _Board, parent: Connection, end: float
) -> None:
    limit_memory()
    rng = random.Random(seed)
    seen: set[str] = set()
    kept: list[Files] = []
    with _own_folder() as place:
        while time.monotonic() < end:
            # Most changes of what is refused already are refused for the same reason.
            files = target.change(rng, rng.choice(kept if kept and rng.random() < 0.3 else pool))
            board.begin(files)
            began = time.monotonic()
            outcome = attempt(target, files, place)
            if time.monotonic() - began > LIMIT and not outcome.is_finding:
                outcome = Outcome("slow")
            board.end(outcome)
            if outcome.signature in seen:
                continue
            # A refusal in words not seen before has come further, or to another place.
            seen.add(outcome.signature)
            parent.send((outcome, files))
            if len(kept) < _MOST_KEPT and not outcome.is_finding:
                kept.append(files)


def hunt(target: Target, seconds: float, seed: str, pool: list[Files]) -> Report:
    """Try mutants for some time; crashes, hangs and what workers report become findings."""
    report, began = Report(target.name), time.monotonic()
    end = began + seconds
    while time.monotonic() < end and len(report.findings) < 20:
        mine, theirs = _process.Pipe(duplex=False)
        board = _Board()
        arguments = (target, f"{seed}/{report.cases}", pool, board, theirs, end)
        worker = _process.Process(target=_work, args=arguments, daemon=True)
        worker.start()
        theirs.close()
        _watch(target, worker, board, mine, report)
        report.cases += board.cases
        report.accepted += board.accepted
    report.calls = report.cases + (target.tries - 1) * report.accepted
    report.seconds = time.monotonic() - began
    return report


def _watch(
    target: Target, worker: Any, board: _Board, receiver: Connection, report: Report
) -> None:
    """Follow a worker until it is done, dead or stuck."""
    while True:
        with contextlib.suppress(EOFError):
            while receiver.poll(0.2):
                outcome, files = receiver.recv()
                if not outcome.is_finding:
                    report.kept.append(files)
                elif outcome.kind != "slow" or alone(target, files).is_finding:
                    _add(target, report, outcome, files)
        if worker.is_alive() and board.duration() < PATIENCE:
            continue
        stuck = worker.is_alive()
        worker.kill()
        worker.join()
        case = board.read()
        if case is None and worker.exitcode and not stuck:
            raise RuntimeError(f"{target.name}: the fuzzer itself has failed, see above")
        if case is not None:
            board.cases += 1
            outcome = alone(target, case)
            if not stuck and not outcome.is_finding:
                outcome = Outcome("crash", f"exit code {worker.exitcode}, not when tried alone")
            if outcome.is_finding:
                _add(target, report, outcome, case)
        return


def _add(target: Target, report: Report, outcome: Outcome, files: Files) -> None:
    if outcome.signature not in {found.outcome.signature for found in report.findings}:
        report.findings.append(Finding(outcome, shrink(target, files, outcome)))


def alone(target: Target, files: Files) -> Outcome:
    """Return what comes of a case in a fresh process; slow only if it is so three times."""
    mine, theirs = _process.Pipe(duplex=False)
    worker = _process.Process(target=_thrice, args=(target, files, theirs), daemon=True)
    worker.start()
    theirs.close()
    try:
        if not mine.poll(PATIENCE):
            return Outcome("hang", f"no answer in {PATIENCE:.0f} seconds")
        outcome: Outcome = mine.recv()
        return outcome
    except EOFError:
        worker.join()
        return Outcome("crash", f"exit code {worker.exitcode}")
    finally:
        worker.kill()
        worker.join()


def _delayed() -> float:
    """Return for how many seconds threads of this process have waited for a processor."""
    tasks = Path("/proc/self/task").glob("*/schedstat")
    return sum(int(task.read_bytes().split()[1]) for task in tasks) * 1e-9


def _thrice(target: Target, files: Files, parent: Connection) -> None:
    limit_memory()
    with _own_folder() as place:
        shortest = math.inf
        for _ in range(3):
            began, delayed = time.monotonic(), _delayed()
            outcome = attempt(target, files, place)
            shortest = min(shortest, time.monotonic() - began - (_delayed() - delayed))
            if shortest <= LIMIT:
                break
    if shortest > LIMIT and not outcome.is_finding:
        outcome = Outcome("hang", f"{shortest:.1f} seconds")
    parent.send(outcome)


def shrink(target: Target, files: Files, outcome: Outcome) -> Files:
    """Take away files and bytes as long as the outcome stays the same, for a while."""
    end = time.monotonic() + _SHRINK_SECONDS

    def still(smaller: Files) -> bool:
        return time.monotonic() < end and alone(target, smaller).signature == outcome.signature

    for name in sorted(files):
        smaller = {key: data for key, data in files.items() if key != name}
        if smaller and still(smaller):
            files = smaller
    for name in sorted(files):
        step = len(files[name]) // 2
        while step and time.monotonic() < end:
            start = 0
            while start < len(files[name]):
                data = files[name]
                smaller = {**files, name: data[:start] + data[start + step :]}
                if still(smaller):
                    files = smaller
                else:
                    start += step
            step //= 2
    return files


def save_case(folder: Path, files: Files) -> Path:
    """Write a case into a folder named after its content."""
    digest = hashlib.sha256(pickle.dumps(sorted(files.items()))).hexdigest()[:10]
    for name, data in files.items():
        path = folder / digest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / digest


def load_case(folder: Path) -> Files:
    """Read what `save_case` wrote."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def load_cases(folder: Path) -> list[Files]:
    """Read all cases of a folder."""
    return [load_case(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
