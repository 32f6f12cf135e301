# SPDX-License-Identifier: Apache-2.0
"""A hostile user of the native module's caches: what they hold and give must be the twin's.

Calls that are refused are left out, and must leave every cache as it was.
"""

from __future__ import annotations

import copy
import importlib
import itertools
import json
import math
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fuzz.arguments import JUNK, Spec, array, build, spoil
from fuzz.engine import Target
from fuzz.native import TIERS, same
from octavo import _numpy

if TYPE_CHECKING:
    from pathlib import Path

    from fuzz.mutate import Files

core: Any = importlib.import_module("octavo._core")

_REFUSALS = (ValueError, TypeError, MemoryError, RuntimeError)
_COUNTS = (0, 1, 1, 1, 2, 5, 15, 16, 17, 40, 300)
_HEAD_SIZES = (1, 3, 4, 15, 16, 17, 33, 64)
_FILLS = ("normal",) * 12 + ("wild", "zero", "nan")
_MOST_TOKENS, _MOST_QUERIES = 1100, 60


class Run(NamedTuple):
    """What one tier has done: the calls that were not refused, their results, and all caches."""

    tier: str
    done: list[dict[str, Any]]
    results: list[Any]
    held: list[Any]


class _Draft:
    """Calls that fit each other."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.layers = rng, rng.choice((1, 2))
        self.kv_heads, self.d = rng.choice((1, 1, 2, 3)), rng.choice(_HEAD_SIZES)
        self.heads = self.kv_heads * rng.choice((1, 2, 3))
        self.calls: list[dict[str, Any]] = []
        self.lengths: list[list[int]] = []
        self.create()

    def add(self, call: str, cache: int = 0, **args: Any) -> None:
        specs = {name: v if isinstance(v, dict) else {"value": v} for name, v in args.items()}
        self.calls.append({"call": call, "cache": cache, "args": specs})

    def floats(self, rows: int, columns: int) -> Spec:
        made = array("f4", (rows, columns), self.rng.choice(_FILLS))
        return {**made, "at": self.rng.randrange(1000)}

    def some(self) -> tuple[int, int]:
        """A cache, most often a late one, and a layer."""
        late = min(int(self.rng.expovariate(0.7)), len(self.lengths) - 1)
        return len(self.lengths) - 1 - late, self.rng.randrange(self.layers)

    def more(self, cache: int, layer: int) -> int:
        """How many tokens a layer is given, and takes."""
        held = self.lengths[cache]
        count = min(self.rng.choice(_COUNTS), _MOST_TOKENS - held[layer])
        held[layer] += count
        return count

    def create(self) -> None:
        self.add("make", layers=self.layers, kv_heads=self.kv_heads, d=self.d)
        self.lengths.append([0] * self.layers)

    def append(self) -> None:
        cache, layer = self.some()
        count, width = self.more(cache, layer), self.kv_heads * self.d
        k, v = self.floats(count, width), self.floats(count, width)
        self.add("append", cache, layer=layer, k=k, v=v)

    def truncate(self) -> None:
        cache, layer = self.some()
        kept = self.rng.randrange(self.lengths[cache][layer] + 2)
        self.lengths[cache] = [min(length, kept) for length in self.lengths[cache]]
        self.add("truncate", cache, tokens=kept)

    def fork(self) -> None:
        cache, _ = self.some()
        self.add("fork", cache)
        self.lengths.append(list(self.lengths[cache]))

    def restore(self) -> None:
        cache, layer = self.some()
        rows = self.more(cache, layer), self.kv_heads
        codes = [array("i1", (*rows, self.d), "codes", 127) for _ in range(2)]
        scales = [array("f4", rows, "below", 3) for _ in range(2)]
        for spec in (*codes, *scales):
            spec["at"] = self.rng.randrange(1000)
        given = dict(zip(("k_codes", "v_codes", "k_scale", "v_scale"), codes + scales, strict=True))
        order = {name: given[name] for name in ("k_codes", "k_scale", "v_codes", "v_scale")}
        self.add("restore", cache, layer=layer, **order)

    def codes(self) -> None:
        cache, layer = self.some()
        self.add("codes", cache, layer=layer)

    def attention(self) -> None:
        rng, (_, layer) = self.rng, self.some()
        caches = rng.sample(range(len(self.lengths)), rng.randint(1, min(3, len(self.lengths))))
        counts = [min(rng.choice(_COUNTS), self.lengths[i][layer], _MOST_QUERIES) for i in caches]
        shape = sum(counts), self.heads * self.d
        starts = list(itertools.accumulate(counts, initial=0))
        self.add(
            "attention_cached",
            q=self.floats(*shape),
            offsets=array("i8", (len(starts),), "given", starts),
            caches=caches,
            layer=layer,
            heads=self.heads,
            window=rng.choice((None, None, 1, 20, 600)),
            sm_scale=rng.choice((1.0, 0.125, 0.0)),
            out=array("f4", shape),
        )

    def case(self) -> dict[str, Any]:
        """Calls of which none is refused."""
        steps = (self.append,) * 4 + (self.attention,) * 4
        steps += (self.truncate, self.truncate, self.fork, self.fork, self.restore, self.codes)
        for step in self.rng.choices((*steps, self.create), k=self.rng.choice((3, 6, 12, 20))):
            step()
        return {"threads": self.rng.choice((1, 1, 2, 3)), "calls": self.calls}


def change(rng: random.Random, _: Files) -> Files:
    """Make some calls, and spoil some of them."""
    case = _Draft(rng).case()
    calls = case["calls"]
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        kind, call = rng.random(), rng.choice(calls)
        if kind < 0.1:
            calls.remove(call)
        elif kind < 0.25:
            calls.insert(rng.randrange(len(calls) + 1), copy.deepcopy(call))
        elif kind < 0.3:
            call["tier"] = rng.randrange(len(TIERS))
        elif kind < 0.4 and isinstance(given := call["args"].get("caches", {}).get("value"), list):
            given.insert(0, rng.choice((*given, 0, *JUNK)))
        elif call["args"]:
            spoil(rng, call["args"])
        if not calls:
            break
    return {"calls.json": json.dumps(case).encode()}


def seeds(_: Path) -> list[Files]:
    """Return some calls that nothing is wrong with."""
    rng = random.Random(0)
    return [{"calls.json": json.dumps(_Draft(rng).case()).encode()} for _ in range(20)]


def _call(module: Any, call: dict[str, Any], caches: list[Any], *, plain: bool = False) -> Any:
    """Make a call; return its result, or what it wrote to."""
    name, arguments = call["call"], build(call["args"], plain=plain)
    if plain:
        arguments = {key: int(v) if isinstance(v, bool) else v for key, v in arguments.items()}
    if name == "make":
        caches.append(module.KeyValueCache(*arguments.values()))
    elif name == "attention_cached":
        given = arguments["caches"]
        if isinstance(given, list):
            arguments["caches"] = [caches[i] if _is_place(i, caches) else i for i in given]
        module.attention_cached(*arguments.values())
        return arguments["out"]
    elif not caches:
        raise ValueError("no cache")
    else:
        found = getattr(caches[call["cache"] % len(caches)], name)(*arguments.values())
        if name != "fork":
            return found
        caches.append(found)
    return None


def _is_place(i: Any, caches: list[Any]) -> bool:
    return type(i) is int and 0 <= i < len(caches)


def _held(caches: list[Any]) -> list[Any]:
    return [[cache.codes(layer) for layer in range(len(cache.lengths()))] for cache in caches]


def _run(tier: str, calls: list[dict[str, Any]]) -> tuple[Run, Exception | None]:
    """Make the calls on a tier; return the last refusal too."""
    caches: list[Any] = []
    run, refusal = Run(tier, [], [], []), None
    for call in calls:
        core.set_isa(TIERS[call["tier"]] if "tier" in call else tier)
        before = [cache.nbytes for cache in caches]
        try:
            result = _call(core, call, caches)
        except _REFUSALS as error:
            refusal = error
            same([cache.nbytes for cache in caches], before, f"memory after a refused {call}")
        else:
            run.done.append(call)
            run.results.append(result)
    run.held.extend(_held(caches))
    return run, refusal


def read(place: Path) -> list[Run]:
    """Make the calls on each tier; those that are refused are passed over."""
    case = json.loads((place / "calls.json").read_bytes())
    try:
        core.set_num_threads(case["threads"])
        with np.errstate(all="ignore"):
            found = [_run(tier, case["calls"]) for tier in TIERS]
    finally:
        core.set_isa(None)
        core.set_num_threads(1)
    first, refusal = found[0]
    if refusal is not None and all(call["call"] == "make" for call in first.done):
        raise refusal
    return [run for run, _ in found]


def check(_: Path, runs: list[Run]) -> None:
    """Compare each tier with the twin, which makes the calls that were not refused."""
    known: list[Run] = []
    for run in runs:
        twin = next((one for one in known if one.done == run.done), None)
        if twin is None:
            caches: list[Any] = []
            results = [_call(_numpy, call, caches, plain=True) for call in run.done]
            twin = Run("twin", run.done, results, _held(caches))
            known.append(twin)
        for call, found, expected in zip(run.done, run.results, twin.results, strict=True):
            same(found, expected, f"{call['call']} on {run.tier}")
        same(run.held, twin.held, f"codes on {run.tier}")


TARGET = Target(
    *("cache", seeds, change, read, check, _REFUSALS, len(TIERS)), longest_message=math.inf
)
