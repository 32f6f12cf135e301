# SPDX-License-Identifier: Apache-2.0
"""Sparse int8 layers against the dense one, the float32 one, sparse peers and the best int8 peer.

Float32 in and out, weights with zeros in random places, all engines interleaved in one process per
thread count. OCTAVO_ISA forces a tier. "auto" suits any number of rows, "auto m" the one that is
measured. "break-even" is the share of zeros from which the fastest sparse form beats octavo's dense
int8 layer.
"""

from __future__ import annotations

import itertools
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from common import workers
from common.targets import Target, at_least, at_most, by_case
from octavo import Linear, runtime, timing
from octavo.bench import report
from octavo.bench.linear import make_input
from octavo.bench.peers import base
from octavo.bench.peers.worker import versions
from octavo.nn import SparseLinear
from octavo.tuning import SPARSE_FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ZEROS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
QUICK_ZEROS = (0.5, 0.9)
LAYERS = ((768, 768), (3072, 768), (4096, 4096), (11008, 4096))
SHAPES = tuple((m, n, k) for n, k in LAYERS for m in (1, 4, 16, 64, 256))
QUICK = ((1, 768, 768), (64, 768, 768))
PEERS = ("ort dynamic int8", "torch int8 x86", "torch float32", "deepsparse float32")

# Zeros -> wanted speed over the dense layer.
ONE_ROW = {
    "avx512vbmi2": {0.5: 1.4, 0.8: 2.1, 0.9: 3.0, 0.95: 5.0},
    "avx2": {0.8: 2.0, 0.9: 2.0, 0.95: 2.0},
}
ONE_ROW |= {"avxvnni": ONE_ROW["avx2"], "amx_int8": ONE_ROW["avx512vbmi2"]}
MANY_ROWS = {0.9: 2.5, 0.95: 4.0}
PAYS = 1.04
"""Speed over dense that noise seldom gives."""
AUTO_FLOOR = 0.97
AUTO_SIZE = 1.01
AUTO_OF_BEST = 0.9
"""Of the fastest form's speed, where the number of rows is known."""


def pruned(n: int, k: int, zeros: float) -> Any:
    """Return a random (n, k) weight with that share of zeros."""
    rng = np.random.default_rng((n, k, round(100 * zeros)))
    weight = rng.standard_normal((n, k), dtype=np.float32) / np.float32(np.sqrt(k))
    weight[rng.random((n, k)) < zeros] = 0
    return weight


def csr_peers(weight: Any, x: Any) -> dict[str, Callable[[], Any]]:
    """Return the float32 CSR products of the libraries that are installed."""
    found: dict[str, Callable[[], Any]] = {}
    try:
        from scipy import sparse

        csr, columns = sparse.csr_array(weight), np.ascontiguousarray(x.T)
        found["scipy csr"] = lambda: csr @ columns
    except ImportError:
        pass
    try:
        import torch

        tensor, right = torch.from_numpy(weight).to_sparse_csr(), torch.from_numpy(x.T.copy())
        found["torch csr"] = lambda: tensor @ right
    except ImportError:
        pass
    return found


def engines(weight: Any, x: Any, threads: int, with_csr: bool) -> dict[str, tuple[str, Any, Any]]:
    """Return engine -> (kind, call, layer)."""
    dense = Linear.from_float(weight)
    layers: dict[str, Any] = {"octavo dense": dense}
    for name in SPARSE_FORMATS:
        layers[f"octavo {name}"] = SparseLinear.from_float(weight, format=name)
    expected = dense(x)
    found: dict[str, tuple[str, Any, Any]] = {}
    for name, layer in layers.items():
        if not np.array_equal(layer(x), expected):
            raise ArithmeticError(f"{name}: not the bits of the dense layer")
        found[name] = ("ours", partial(layer, x), layer)
    peers, _ = base.find(PEERS)
    ready, _ = base.prepare_all(peers, base.Layer(weight, np.zeros(len(weight), "f4"), threads))
    calls, _ = base.bind_all(ready, x)
    found |= {name: ("peer", call, None) for name, call in calls.items()}
    if with_csr:
        found |= {name: ("peer", call, None) for name, call in csr_peers(weight, x).items()}
    return found


def measure(
    shape: tuple[int, int, int], zeros: float, threads: int, quick: bool
) -> list[report.Row]:
    """Time all engines on one weight."""
    m, n, k = shape
    weight, x = pruned(n, k, zeros), make_input(m, k)
    found = engines(weight, x, threads, with_csr=zeros >= 0.8)
    timed = timing.run(
        {name: call for name, (_, call, _) in found.items()},
        rounds=5 if quick else 7,
        seconds=0.03 if quick else 0.12,
        settled=threads > 1,
    ).timings
    # What "auto" chose is one of the layers: timed twice, noise would tell them apart.
    for name, known in (("octavo auto", None), ("octavo auto m", m)):
        chosen = f"octavo {SparseLinear.from_float(weight, rows=known).format}"
        found[name], timed[name] = found[chosen], timed[chosen]
    nnz = int(np.count_nonzero(weight))
    isa = str(runtime.get_isa())
    rows = []
    for name, times in timed.items():
        kind, _, layer = found[name]
        extra = {"kind": kind, "m": m, "n": n, "k": k, "zeros": zeros}
        if layer is not None:
            extra |= {"nbytes": layer.nbytes, "format": getattr(layer, "format", "dense")}
        key = (
            "sparse",
            f"{m}x{n}x{k} {zeros:.0%}",
            name,
            isa if kind == "ours" else "-",
            threads,
        )
        rows.append(report.make_row(key, times, (2 * m * nnz, nnz + 4 * m * (n + k)), extra=extra))
    return rows


def speed(engines_: dict[str, dict[str, Any]], name: str, over: str = "octavo dense") -> float:
    return float(engines_[over]["seconds"] / engines_[name]["seconds"])


def best_sparse(engines_: dict[str, dict[str, Any]]) -> float:
    # Blocks of 16 x 4 in random places are all there: the dense form by another name.
    return max(speed(engines_, f"octavo {name}") for name in SPARSE_FORMATS if name != "bsr16x4")


def sparse_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Hold the rows against the project's targets."""
    one: dict[float, list[tuple[float, str]]] = {}
    many: dict[float, list[tuple[float, str]]] = {zeros: [] for zeros in MANY_ROWS}
    auto: list[tuple[float, str]] = []
    known: list[tuple[float, str]] = []
    size: list[tuple[float, str]] = []
    isa = ""
    for (case, threads), found in by_case(rows).items():
        dense, where = found["octavo dense"], f"{case} T={threads}"
        extra, isa = dense["extra"], dense["isa"]
        if extra["m"] == 1 and extra["n"] >= 4096 and extra["zeros"] in ONE_ROW.get(isa, {}):
            one.setdefault(extra["zeros"], []).append((best_sparse(found), where))
        if extra["m"] >= 32 and extra["zeros"] in many:
            many[extra["zeros"]].append((best_sparse(found), where))
        rivals = [dense, *(found[n] for n in ("torch float32",) if n in found)]
        fastest = min(float(row["seconds"]) for row in rivals)
        auto.append((fastest / found["octavo auto"]["seconds"], where))
        known.append((speed(found, "octavo auto m") / max(1.0, best_sparse(found)), where))
        size.append((found["octavo auto"]["extra"]["nbytes"] / extra["nbytes"], where))
    targets = [
        at_least(f"{isa}: one row, {zeros:.0%} zeros", ONE_ROW[isa][zeros], values)
        for zeros, values in sorted(one.items())
    ]
    targets += [
        at_least(f"{isa}: M >= 32, {zeros:.0%} zeros", MANY_ROWS[zeros], values)
        for zeros, values in many.items()
    ]
    targets.append(at_least("auto against dense int8 and float32", AUTO_FLOOR, auto))
    targets.append(at_least("auto that knows m, of the fastest form", AUTO_OF_BEST, known))
    targets.append(at_most("auto's size over dense int8", AUTO_SIZE, size))
    return targets


def break_even(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table: shape and threads -> zeros from which a sparse form is the faster one."""
    curves: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for (case, threads), found in by_case(rows).items():
        zeros = found["octavo dense"]["extra"]["zeros"]
        curves.setdefault((case.split()[0], threads), []).append((zeros, best_sparse(found)))
    lines = [(shape, str(threads), crossing(curve)) for (shape, threads), curve in curves.items()]
    return report.table(("shape", "threads", "break-even"), lines)


def crossing(curve: Sequence[tuple[float, float]]) -> str:
    """Interpolate where the speed over dense rises above its noise for good."""
    points = sorted(curve)
    found = "always faster" if points[0][1] >= PAYS else "never faster"
    for (z0, s0), (z1, s1) in itertools.pairwise(points):
        if s0 < PAYS <= s1:
            found = f"{z0 + (z1 - z0) * (PAYS - s0) / (s1 - s0):.0%} zeros"
    return found


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    rows: list[report.Row] = []
    for m, n, k in shapes:
        for zeros in QUICK_ZEROS if quick else ZEROS:
            made = measure((m, n, k), zeros, threads, quick)
            rows += made
            for row in sorted(made, key=lambda row: row.seconds):
                workers.say(report.row_line(row))
            workers.say()
    document = report.document("sparse", rows, {"quick": quick}, versions=versions())
    workers.say(break_even(document["rows"]))
    return document


def main(argv: Sequence[str] | None = None) -> int:
    return workers.main_of_script(
        argv,
        __file__,
        __doc__ or "",
        work,
        lambda quick: QUICK if quick else SHAPES,
        sparse_targets,
        threads="1",
    )


if __name__ == "__main__":
    sys.exit(main())
