# SPDX-License-Identifier: Apache-2.0
"""Layers of 4, 5 and 8 bits in groups of inputs, against octavo's int8 layer and ONNX Runtime's.

Float32 in and out, all engines interleaved in one process per thread count. OCTAVO_ISA forces a
tier. "f16" has scales in float16, "min" a minimum beside each, "steps" scales in two levels; the
peer is MatMulNBits with blocks of 32 and int8 activations.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from common import workers
from common.targets import Target, at_least, by_case, percent
from octavo import Linear, runtime, timing
from octavo.bench import linear as ours
from octavo.bench import machine, report
from octavo.bench.peers import base
from octavo.bench.peers.worker import versions
from octavo.nn.weights import (
    GroupedWeight,
    Int4Weight,
    Int5Weight,
    Int8GroupWeight,
    Int8Weight,
    SteppedScale,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYERS = ((1536, 576), (4096, 4096), (11008, 4096))
SHAPES = tuple((m, n, k) for n, k in LAYERS for m in (1, 4, 16, 64, 256))
QUICK = ((1, 4096, 4096), (64, 4096, 4096))
PEERS = ("ort nbits4",)
LIMIT = 0.3
"""Of the relative error: 4 bits of random numbers make 0.1 of it; this finds broken engines."""
OF_BYTES = 0.9
"""Of the speed over int8 that follows from reading fewer bytes."""
MANY = 64
OF_INT8 = {"avx2": 0.9}
OF_INT8_WITH_DOT = 0.85


def weights(values: Any) -> dict[str, Int8Weight | GroupedWeight]:
    """Return the ways to hold a float matrix that are compared."""
    made: dict[str, Int8Weight | GroupedWeight] = {
        "int8": Int8Weight.from_float(values),
        "int4 g32": Int4Weight.from_float(values, group=32),
        "int4 g128": Int4Weight.from_float(values, group=128),
    }
    for name, kind in (("int4", Int4Weight), ("int5", Int5Weight), ("int8", Int8GroupWeight)):
        plain = kind.from_float(values, group=32)
        halves = plain.scale.astype(np.float16)
        made[f"{name} g32 f16"] = kind.from_quantized(plain.codes, halves, group=32)
    four = Int4Weight.from_float(values, group=32)
    codes, halves = four.codes + np.int8(8), four.scale.astype(np.float16)
    made["int4 g32 f16 min"] = Int4Weight.from_quantized(
        codes, halves, group=32, minimum=np.float16(-8) * halves
    )
    groups = halves.shape[1]
    unit = np.float16(four.scale.max(axis=1, keepdims=True) / 63).repeat(-(-groups // 8), axis=1)
    each = unit.repeat(8, axis=1)[:, :groups].astype(np.float32)
    steps = np.rint(four.scale / each).clip(1, 63).astype(np.uint8)
    made["int4 g32 steps min"] = Int4Weight.from_quantized(
        codes,
        SteppedScale(steps, unit),
        group=32,
        minimum=SteppedScale(steps, np.float16(-8) * unit),
    )
    return made


def measure(shape: tuple[int, ...], threads: int, quick: bool) -> list[report.Row]:
    """Check, then time all engines on one weight."""
    m, n, k = shape
    weight, bias = ours.make_layer(n, k)
    x = ours.make_input(m, k)
    check = ours.checker(ours.Problem(x, weight, bias), LIMIT)
    held = weights(weight)
    calls: dict[str, Any] = {}
    for name, kind in held.items():
        layer = Linear.of(kind, bias)
        check(name, layer(x))
        calls[name] = partial(layer, x)
    peers, _ = base.find(PEERS)
    ready, _ = base.prepare_all(peers, base.Layer(weight, bias, threads))
    theirs, failed = base.bind_all(ready, x, check)
    for name, reason in failed.items():
        workers.say(f"{name}: left out ({reason})")
    timed = timing.run(
        calls | theirs,
        rounds=5 if quick else 9,
        seconds=0.03 if quick else 0.1,
        settled=threads > 1,
    ).timings
    sizes = {"m": m, "n": n, "k": k, "l2": machine.l2_bytes()}
    isa, (operations, _) = str(runtime.get_isa()), ours.work(m, n, k)
    rows = []
    for name, times in timed.items():
        nbytes = int(held[name].nbytes) if name in held else 0
        rows.append(
            report.make_row(
                ("low_bits", f"{m}x{n}x{k}", name, isa if nbytes else "-", threads),
                times,
                (operations, nbytes + 4 * m * (n + k)),
                extra={"kind": "ours" if nbytes else "peer", "nbytes": nbytes, **sizes},
            )
        )
        workers.say(report.row_line(rows[-1]))
    return rows


def gains(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the speed of each way to hold the weight over int8."""
    int8 = float(found["int8"]["seconds"])
    return {name: int8 / float(row["seconds"]) for name, row in found.items() if name != "int8"}


def low_bit_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Hold the rows against the speed that fewer bytes promise, and against int8's."""
    one: dict[str, list[tuple[float, str]]] = {}
    many: list[tuple[float, str]] = []
    peers: list[tuple[float, str]] = []
    isa = ""
    for (case, threads), found in by_case(rows).items():
        extra, isa, where = found["int8"]["extra"], found["int8"]["isa"], f"{case} T={threads}"
        for name, gain in gains(found).items():
            if name in PEERS:
                best = found["int4 g32 f16"]["seconds"]
                peers.append((found[name]["seconds"] / best, where))
                continue
            nbytes = found[name]["extra"]["nbytes"]
            if extra["m"] == 1 and nbytes > 2 * extra["l2"]:
                one.setdefault(name, []).append((gain * nbytes / extra["nbytes"], where))
            if extra["m"] >= MANY and name == "int4 g128":
                many.append((gain, where))
    targets = [
        at_least(f"M = 1, beyond L2, {name}: of the ratio of bytes", OF_BYTES, values, percent)
        for name, values in one.items()
    ]
    bound = OF_INT8.get(isa, OF_INT8_WITH_DOT)
    targets.append(at_least(f"{isa}, M >= {MANY}, int4 g128: of int8's speed", bound, many))
    targets.append(at_least("int4 g32 f16: over ONNX Runtime's", 1.0, peers))
    return targets


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    rows = [row for shape in shapes for row in measure(shape, threads, quick)]
    document = report.document("low_bits", rows, {"quick": quick}, versions=versions())
    cases = by_case(document["rows"])
    header = list(dict.fromkeys(name for found in cases.values() for name in gains(found)))
    workers.say("speed over int8")
    lines = [
        (case, *(f"{gains(found).get(name, float('nan')):.2f}" for name in header))
        for (case, _), found in cases.items()
    ]
    workers.say(report.table(("shape", *header), lines))
    return document


def main(argv: Sequence[str] | None = None) -> int:
    return workers.main_of_script(
        argv,
        __file__,
        __doc__ or "",
        work,
        lambda quick: QUICK if quick else SHAPES,
        low_bit_targets,
        threads="1",
    )


if __name__ == "__main__":
    sys.exit(main())
