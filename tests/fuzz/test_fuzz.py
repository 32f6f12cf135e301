# SPDX-License-Identifier: Apache-2.0
"""What fuzzing has found stays mended, it tries everything, and it would notice."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from fuzz import engine
from fuzz.__main__ import FOUND
from fuzz.mutate import Files
from fuzz.targets import TARGETS
from native import core, needs_core

CASES = [path for folder in FOUND.iterdir() for path in sorted(folder.iterdir())]
NAMES = [path.relative_to(FOUND).as_posix() for path in CASES]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_what_was_found(case: Path, tmp_path: Path) -> None:
    if case.parent.name not in TARGETS:
        pytest.skip("needs the native module")
    outcome = engine.attempt(TARGETS[case.parent.name], engine.load_case(case), tmp_path)
    assert not outcome.is_finding, outcome


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_accepts_and_refuses(name: str, tmp_path: Path) -> None:
    target, rng, place = TARGETS[name], random.Random(1), tmp_path / "case"
    seeds = target.seeds(tmp_path)
    place.mkdir()
    for seed in seeds:
        assert engine.attempt(target, seed, place).kind == "accepted"
    kinds = set()
    for _ in range(200):
        outcome = engine.attempt(target, target.change(rng, rng.choice(seeds)), place)
        assert not outcome.is_finding, outcome
        kinds.add(outcome.kind)
        if len(kinds) == 2:
            break
    assert kinds == {"accepted", "refused"}


@needs_core
def test_every_native_function_is_called() -> None:
    from fuzz import native

    called = {*native.FUNCTIONS, *native.OBJECTS, *native.PLAIN}
    assert called == {name for name in dir(core) if not name.startswith("_")}
    for name, (_, methods) in native.OBJECTS.items():
        made = {"grouped_linear": "PackedLinear", "grouped_weight": "PackedWeight"}.get(name, name)
        known = {name for name in dir(getattr(core, made)) if not name.startswith("_")}
        # Groups have no codes with one scale a row; bytes and their number are the native module's.
        assert known - set(methods) <= {"run_codes", "packed", "nbytes"} & (
            known if made != name else set()
        )
        assert set(methods) <= known


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(60)


def misread() -> None:
    raise KeyError("x")


def talk() -> None:
    raise ValueError("x" * 5000)


def fill_memory() -> None:
    bytearray(1 << 33)


FAULTS: dict[str, tuple[Any, str]] = {
    "crash": (crash, "crash"),
    "hang": (hang, "hang"),
    "another exception": (misread, "exception"),
    "memory": (fill_memory, "exception"),
    "a long message": (talk, "long message"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.5)
    act, kind = FAULTS[fault]

    def read(place: Path) -> bytes:
        data = (place / "x").read_bytes()
        if b"!" in data:
            act()
        return data

    def change(rng: random.Random, files: Files) -> Files:
        return {"x": files["x"] + rng.choice((b"a", b"b", b"!"))}

    target = engine.Target(
        "planted", lambda _: [{"x": b"abc"}], change, read, lambda _, found: None
    )
    report = engine.hunt(target, 0.5, "0", [{"x": b"abc"}])
    found = {finding.outcome.kind: finding.files for finding in report.findings}
    assert set(found) == {kind}
    assert found[kind] == {"x": b"!"}  # all else was taken away


def test_other_meanings_are_found() -> None:
    def check(_: Path, found: bytes) -> None:
        assert found == b"a", "another"

    target = engine.Target(
        "planted",
        lambda _: [{"x": b"a"}],
        lambda rng, files: {"x": rng.choice((b"a", b"b"))},
        lambda place: (place / "x").read_bytes(),
        check,
    )
    (finding,) = engine.hunt(target, 0.3, "0", [{"x": b"a"}]).findings
    assert finding.outcome.kind == "other meaning"
