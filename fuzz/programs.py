# SPDX-License-Identifier: Apache-2.0
"""A hostile maker of programs of the native module: what runs must equal its steps, one by one.

Calls that are refused are left out, and must leave the program as it was.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import itertools
import json
import math
import random
from collections.abc import Callable
from concurrent import futures
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fuzz.arguments import JUNK, Spec, array, build, spoil
from fuzz.engine import Target
from fuzz.native import OBJECTS, TIERS, draw, make, same

if TYPE_CHECKING:
    from pathlib import Path

    from fuzz.mutate import Files

core: Any = importlib.import_module("octavo._core")

_REFUSALS = (ValueError, TypeError, MemoryError)
_WIDTHS = (1, 4, 16, 17, 28, 32, 32, 33, 64, 64)
_KINDS = ("PackedLinear",) * 5 + ("packed_int4", "LinearF32", "LinearF32")
_LENGTHS = (0, 0, 1, 2, 5, 17, 40, 120, 130, 300)
_MOST_ROWS, _MOST_BIASED = 450, 120  # arguments are of some 10,000 elements
_NORM = "weight=f4:n bias?=f4:n eps=float"

Array = np.ndarray[Any, np.dtype[Any]]
Step = Callable[[list[Any], Any, Any], Any]
"""Computes a value of the values before it, offsets and a bias."""


class Run(NamedTuple):
    """A call of a program that was not refused."""

    steps: list[Step]
    result: int
    arguments: list[Any]
    found: list[Any]


class _Draft:
    """Calls that fit each other, most of them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.heads, self.biased = rng, rng.choice((1, 1, 4)), False
        self.widths = [rng.choice(_WIDTHS)]
        self.calls: list[dict[str, Any]] = []
        lengths = [rng.choice(_LENGTHS) for _ in range(rng.choice((0, 1, 1, 2, 3, 9)))]
        while sum(lengths) > _MOST_ROWS:
            lengths.pop()
        self.lengths = lengths

    def some(self, width: int | None = None) -> int:
        """A value, of this width if there is one; mostly a late one, whose memory is reused."""
        rng = self.rng
        fitting = [i for i, w in enumerate(self.widths) if width in (None, w)] or [0]
        return fitting[-1 - min(int(rng.expovariate(0.6)), len(fitting) - 1)]

    def added(self, width: int) -> Spec:
        """What may be added to a value of this width."""
        there = width in self.widths and self.rng.random() < 0.5
        return {"value": self.some(width) if there else None}

    def add(self, name: str, args: dict[str, Spec], width: int, **more: Any) -> None:
        """Take a call down that makes a value."""
        self.calls.append({"call": name, "args": args, **more})
        self.widths.append(width)

    def linears(self) -> None:
        """Neighbours that read the same value, and mostly make the same codes of it."""
        rng, x = self.rng, self.some()
        k, kind = self.widths[x], rng.choice(_KINDS)
        like: dict[str, Spec] = {}
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            n = rng.choice(_WIDTHS)
            sizes = {"n": n, "k": k, "group": 32, "groups": -(-k // 32), "seven": 7, "most": 127}
            own = draw(rng, OBJECTS[kind][0], sizes)
            if kind != "LinearF32":
                own["output_scale"] = {"value": None}
            if like and rng.random() < 0.8:
                own |= {name: like[name] for name in like if name.startswith(("sym", "input"))}
            like = copy.deepcopy(own)
            args = {"x": {"value": x}, "addend": self.added(n), "residual": self.added(n)}
            self.add("linear", args, n, kind=kind, make=own)

    def norm(self) -> None:
        x = self.some()
        n = self.widths[x]
        args = draw(self.rng, _NORM, {"n": n})
        self.add("layer_norm", {**args, "x": {"value": x}, "residual": self.added(n)}, n)

    def attention(self) -> None:
        rng, q = self.rng, self.some()
        width = self.widths[q]
        heads = self.heads if width % self.heads == 0 else 1
        values = {"q": q, "k": self.some(width), "v": self.some(width), "heads": heads}
        values |= {"sm_scale": rng.choice((1.0, 0.125, 0.0)), "int8": rng.random() < 0.6}
        fits = heads == self.heads and max(self.lengths, default=0) <= _MOST_BIASED
        values["biased"] = fits and rng.random() < 0.2
        self.biased |= values["biased"]
        self.add("attention", {name: {"value": value} for name, value in values.items()}, width)

    def case(self) -> dict[str, Any]:
        """A program that runs."""
        rng, rows = self.rng, sum(self.lengths)
        for _ in range(rng.choice((1, 2, 4, 8))):
            rng.choice((self.linears, self.linears, self.norm, self.attention))()
        result = max(1, self.some())
        self.calls.append({"call": "finish", "args": {"result": {"value": result}}})
        longest = max(self.lengths, default=0) + rng.choice((0, 0, 2))
        starts = list(itertools.accumulate(self.lengths, initial=0))
        bias = array("f4", (rng.choice((1, self.heads)), longest, longest))
        args = {
            "x": array("f4", (rows, self.widths[0])),
            "offsets": array("i8", (len(self.lengths) + 1,), "given", starts),
            "bias": bias if self.biased else {"value": None},
        }
        self.calls.append({"call": "run", "args": args})
        threads, callers = rng.choice((2, 3, 5)), rng.choice((1,) * 9 + (3,))
        width: Spec = {"width": {"value": self.widths[0]}}
        return {"threads": threads, "callers": callers, "width": width, "calls": self.calls}


def change(rng: random.Random, _: Files) -> Files:
    """Make a program, and spoil some of what is done to it."""
    case = _Draft(rng).case()
    calls = case["calls"]
    for _ in range(rng.choice((0, 0, 1, 2, 4))):
        kind, at = rng.random(), rng.randrange(len(calls))
        if kind < 0.1:
            del calls[at]
        elif kind < 0.2:
            calls.insert(rng.randrange(len(calls) + 1), copy.deepcopy(calls[at]))
        elif kind < 0.25:
            calls[at]["kind"] = rng.choice(("PackedF32", "PackedMatrix", "packed_int4", "none"))
        elif kind < 0.3:
            case["width"]["width"] = {"value": rng.choice(JUNK)}
        else:
            spoil(rng, calls[at]["make" if "make" in calls[at] and kind < 0.6 else "args"])
        if not calls:
            break
    return {"program.json": json.dumps(case).encode()}


def seeds(_: Path) -> list[Files]:
    """Return some programs that nothing is wrong with."""
    rng = random.Random(0)
    return [{"program.json": json.dumps(_Draft(rng).case()).encode()} for _ in range(20)]


def _step(program: Any, call: dict[str, Any]) -> Step:
    """Add a step; return what computes the same."""
    name, arguments = call["call"], list(build(call["args"]).values())
    if name == "linear":
        layer = make(core, call["kind"], call["make"]) if call["kind"] in OBJECTS else None
        program.linear(layer, *arguments)
        x, addend, residual = arguments
        return lambda v, *_: layer.run(v[index(x)], _at(v, residual), _at(v, addend), None)
    getattr(program, name)(*arguments)
    if name == "layer_norm":
        *options, x, residual = arguments
        return lambda v, *_: _norm(v[index(x)], options, _at(v, residual))
    places, options = [index(one) for one in arguments[:3]], arguments[3:]
    return lambda v, *more: _attention([v[place][None] for place in places], options, *more)


def _at(values: list[Any], place: Any) -> Any:
    return None if place is None else values[index(place)]


def _norm(x: Array, options: list[Any], residual: Any) -> Any:
    out = np.empty_like(x)
    core.layer_norm(x, *options, residual, out)
    return out


def _attention(qkv: list[Array], options: list[Any], offsets: Array, bias: Any) -> Any:
    heads, scale, int8, biased = options
    longest = int(np.diff(offsets).max(initial=0))
    added = np.ascontiguousarray(bias[:, :longest, :longest]) if biased else None
    out = np.empty_like(qkv[0])
    if int8:
        core.attention_int8(*qkv, None, added, None, offsets, heads, heads, scale, out)
    else:
        core.attention(*qkv, None, added, offsets, heads, scale, out)
    return out[0]


def _run(program: Any, arguments: list[Any], threads: int, callers: int) -> list[Any]:
    """Return the results on each tier, and of callers at once, while tiers and threads change."""
    found = []
    for tier, count in itertools.product(TIERS, (1, threads)):
        core.set_isa(tier)
        core.set_num_threads(count)
        found.append(program.run(*arguments))
    if callers == 1:
        return found
    with futures.ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(program.run, *arguments) for _ in range(callers)]
        for tier in itertools.cycle(TIERS):
            core.set_isa(tier)
            core.set_num_threads(1 + core.get_num_threads() % threads)
            with contextlib.suppress(ValueError):
                program.finish(1)
            if all(call.done() for call in calls):
                return found + [call.result() for call in calls]
    raise AssertionError("no result")


class _Calls:
    """A program, and what it has been told."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case, self.result = case, 0
        self.steps: list[Step] = []
        self.runs: list[Run] = []
        self.program = core.Program(*build(case["width"]).values())
        self.refusal: Exception = ValueError("no call")

    def make(self, call: dict[str, Any]) -> None:
        """Make a call, which may be refused."""
        try:
            if call["call"] not in ("finish", "run"):
                self.steps.append(_step(self.program, call))
                return
            arguments = list(build(call["args"]).values())
            if call["call"] == "finish":
                self.program.finish(*arguments)
                self.result = index(arguments[0])
            else:
                found = _run(self.program, arguments, self.case["threads"], self.case["callers"])
                self.runs.append(Run(self.steps, self.result, arguments, found))
        except _REFUSALS as error:
            self.refusal = error


def read(place: Path) -> list[Run]:
    """Make the calls; those that are refused are passed over."""
    case = json.loads((place / "program.json").read_bytes())
    try:
        calls = _Calls(case)
        for call in case["calls"]:
            calls.make(call)
    finally:
        core.set_isa(None)
        core.set_num_threads(1)
    if not calls.runs:
        raise calls.refusal
    return calls.runs


def check(_: Path, runs: list[Run]) -> None:
    """Compare tiers and threads with each other and with the steps one by one."""
    for run in runs:
        for found in run.found:
            same(found, run.found[0], "tiers and threads")
        x, offsets, bias = (None if one is None else np.asarray(one) for one in run.arguments)
        try:
            for tier in TIERS:
                core.set_isa(tier)
                values = [x]
                for step in run.steps:
                    values.append(step(values, offsets, bias))
                same(run.found[0], values[run.result], f"one by one on {tier}")
        finally:
            core.set_isa(None)


TARGET = Target(
    *("program", seeds, change, read, check, _REFUSALS, 2 * len(TIERS)), longest_message=math.inf
)
