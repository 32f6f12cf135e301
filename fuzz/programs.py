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
from concurrent import futures
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fuzz.arguments import JUNK, Spec, array, build, spoil
from fuzz.engine import Target
from fuzz.native import OBJECTS, TIERS, draw, same
from fuzz.program_steps import Call, Step, add_step

if TYPE_CHECKING:
    from pathlib import Path

    from fuzz.mutate import Files

core: Any = importlib.import_module("octavo._core")

_REFUSALS = (ValueError, TypeError, MemoryError)
_WIDTHS = (1, 4, 16, 17, 28, 32, 32, 33, 64, 64)
_KINDS = ("PackedLinear",) * 5 + ("grouped_linear", "LinearF32", "LinearF32")
_LENGTHS = (0, 0, 1, 2, 5, 17, 40, 120, 130, 300)
_MOST_ROWS, _MOST_BIASED = 450, 120  # arguments are of some 10,000 elements
_NORM = "weight=f4:n bias?=f4:n eps=float"
_PLACES, _MOST_HELD, _HEAD = 40, 30, 8


class Run(NamedTuple):
    """A call of a program that was not refused."""

    steps: list[Step]
    result: int
    call: Call
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
        self.lengths, self.tables, self.layers = lengths, 0, 0

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
                own |= {
                    name: like[name] for name in like if name.startswith(("sym", "input", "order"))
                }
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

    def root(self) -> None:
        """A norm by the root mean square, of rows or of heads."""
        x = self.some()
        width = self.widths[x]
        n = width // self.rng.choice([count for count in (1, 1, 2, 4) if width % count == 0])
        args = draw(self.rng, "weight=f4:n eps=float", {"n": n})
        self.add("rms_norm", {**args, "x": {"value": x}, "addend": self.added(width)}, width)

    def turn(self) -> None:
        x, table = self.some(), self.rng.choice((0, 1))
        table = min(table, self.tables)
        self.tables = max(self.tables, table + 1)
        heads = self.rng.choice([count for count in (1, 2, 4) if self.widths[x] % count == 0])
        args: dict[str, Spec] = {"x": {"value": x}, "heads": {"value": heads}}
        self.add("rotary", {**args, "table": {"value": table}}, self.widths[x])

    def gate(self) -> None:
        gate = self.some()
        width = self.widths[gate]
        args = {"gate": {"value": gate}, "x": {"value": self.some(width)}}
        self.add("gated", {**args, **draw(self.rng, "name=activation", {})}, width)

    def columns(self, width: int) -> int:
        """So many columns of a value that has them."""
        x = self.rng.choice([i for i, wide in enumerate(self.widths) if wide >= width])
        begin = self.rng.randint(0, self.widths[x] - width)
        values = {"x": x, "begin": begin, "end": begin + width}
        self.add("columns", {name: {"value": value} for name, value in values.items()}, width)
        return len(self.widths) - 1

    def cached(self) -> None:
        """Attention to caches, of two heads of keys and four of queries."""
        if max(self.widths) < 4 * _HEAD:
            return
        q, k, v = (self.columns(heads * _HEAD) for heads in (4, 2, 2))
        layer, window = self.rng.randrange(3), self.rng.choice((None, None, 1, 5))
        self.layers = max(self.layers, layer + 1)
        values = {"q": q, "k": k, "v": v, "layer": layer, "heads": 4, "kv_heads": 2}
        values |= {"window": window, "sm_scale": self.rng.choice((1.0, 0.125, 0.0))}
        args = {name: {"value": value} for name, value in values.items()}
        self.add("attention_cached", args, 4 * _HEAD)

    def decoding(self) -> dict[str, Spec]:
        """What calls of decoders have beside the rest."""
        places = [self.rng.randrange(_PLACES) for _ in range(sum(self.lengths))]
        there = array("i8", (len(places),), "given", places) if self.tables else {"value": None}
        args: dict[str, Spec] = {"positions": there}
        for table in range(self.tables):
            pairs = self.rng.choice((0, 0, 1))
            for name in ("cosine", "sine"):
                args[f"{name}{table}"] = array("f4", (_PLACES, pairs))
        held = [self.rng.randint(0, _MOST_HELD) for _ in self.lengths if self.layers]
        shapes = [[self.layers, 2, _HEAD, count] for count in held]
        return {**args, "caches": {"value": shapes}}

    def case(self) -> dict[str, Any]:
        """A program that runs."""
        rng, rows = self.rng, sum(self.lengths)
        steps = (self.linears, self.linears, self.norm, self.attention)
        more = (self.root, self.turn, self.gate, self.cached)
        for _ in range(rng.choice((1, 2, 4, 8))):
            rng.choice((*steps, *more) if rng.random() < 0.7 else steps)()
        made = [i for i, call in enumerate(self.calls, 1) if call["call"] != "columns"]
        result = made[-1 - min(int(rng.expovariate(0.6)), len(made) - 1)] if made else 1
        self.calls.append({"call": "finish", "args": {"result": {"value": result}}})
        longest = max(self.lengths, default=0) + rng.choice((0, 0, 2))
        starts = list(itertools.accumulate(self.lengths, initial=0))
        bias = array("f4", (rng.choice((1, self.heads)), longest, longest))
        args = {
            "x": array("f4", (rows, self.widths[0])),
            "offsets": array("i8", (len(self.lengths) + 1,), "given", starts),
            "bias": bias if self.biased else {"value": None},
            **self.decoding(),
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
            calls[at]["kind"] = rng.choice(("PackedF32", "PackedMatrix", "grouped_linear", "none"))
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


def _outcome(program: Any, call: Call) -> list[Any]:
    """Return the result, and what caches hold then."""
    call = call.with_caches()
    return [program.run(*call), *call.held()]


def _run(program: Any, arguments: Call, threads: int, callers: int) -> list[Any]:
    """Return the results on each tier, and of callers at once, while tiers and threads change."""
    found = []
    for tier, count in itertools.product(TIERS, (1, threads)):
        core.set_isa(tier)
        core.set_num_threads(count)
        found.append(_outcome(program, arguments))
    if callers == 1:
        return found
    with futures.ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(_outcome, program, arguments) for _ in range(callers)]
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
                self.steps.append(add_step(self.program, call))
                return
            given = build(call["args"])
            if call["call"] == "finish":
                self.program.finish(*given.values())
                self.result = index(given["result"])
            else:
                names = [name for name in given if name.startswith(("cosine", "sine"))]
                parts = [given.pop(name) for name in names]
                tables = list(zip(parts[::2], parts[1::2], strict=True))
                arguments = Call(**given, tables=tables)
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
        plain = [None if one is None else np.asarray(one) for one in run.call[:4]]
        tables = [tuple(map(np.asarray, pair)) for pair in run.call.tables]
        try:
            for tier in TIERS:
                core.set_isa(tier)
                call = Call(*plain, tables, run.call.caches).with_caches()
                values = [call.x]
                for step in run.steps:
                    values.append(step(values, call))
                same(run.found[0], [values[run.result], *call.held()], f"one by one on {tier}")
        finally:
            core.set_isa(None)


TARGET = Target(
    *("program", seeds, change, read, check, _REFUSALS, 2 * len(TIERS)), longest_message=math.inf
)
