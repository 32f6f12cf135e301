# SPDX-License-Identifier: Apache-2.0
"""The float32 sparse product against scipy's and PyTorch's CSR, DeepSparse and NumPy's dense one.

a (N, K) with 80, 90 and 95% zeros in random places, times x (K, M): float32 in and out, the sparse
form prepared beforehand, all engines interleaved in one process per thread count.  scipy has one
thread.  "octavo linear" is x (M, K) @ a.T, the orientation of a layer; so is DeepSparse, whose last
release wants an environment of its own (Python 3.11, NumPy 1).
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from common import workers
from common.targets import Target, at_least, by_case
from octavo import functional, runtime, timing
from octavo.bench import report
from octavo.bench.linear import make_input
from octavo.bench.peers import base
from octavo.bench.peers.worker import versions
from octavo.sparse import SparseMatrix, spmm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHAPES = ((1, 4096, 4096), (32, 768, 768), (128, 3072, 768), (512, 768, 768))
QUICK = ((1, 768, 768), (32, 768, 768))
ZEROS = (0.8, 0.9, 0.95)
LAYERS = ("octavo linear", "deepsparse float32")
"""Engines whose result is (M, N)."""
RIVALS = ("torch csr", "scipy csr", "deepsparse float32")
PEER_RATIO = 2.0
ROUNDING = 1e-5


def pruned(n: int, k: int, zeros: float) -> Any:
    """Return a random (n, k) matrix with that share of zeros."""
    rng = np.random.default_rng((n, k, round(100 * zeros)))
    weight = rng.standard_normal((n, k), dtype=np.float32)
    weight[rng.random((n, k)) < zeros] = 0
    return weight


def engines(weight: Any, x: Any, threads: int) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """Return engine -> call for a @ x, and the peers that are not installed."""
    ours = SparseMatrix.from_dense(weight)
    rows = np.ascontiguousarray(x.T)
    single = x.shape[1] == 1
    vector = x[:, 0] if single else x
    found: dict[str, Callable[[], Any]] = {
        "octavo": lambda: spmm(ours, vector),
        "octavo linear": lambda: functional.sparse_linear(rows, ours),
        "numpy": lambda: weight @ vector,
    }
    absent = []
    try:
        from scipy import sparse

        csr = sparse.csr_array(weight)
        found["scipy csr"] = lambda: csr @ vector
    except ImportError as error:
        absent.append(f"scipy csr: {error}")
    try:
        import torch

        warnings.filterwarnings("ignore", "Sparse ", UserWarning)
        tensor, right = torch.from_numpy(weight).to_sparse_csr(), torch.from_numpy(x)
        found["torch csr"] = lambda: tensor @ right
    except ImportError as error:
        absent.append(f"torch csr: {error}")
    peers, missing = base.find(("deepsparse",))
    layer = base.Layer(weight, np.zeros(len(weight), np.float32), threads)
    calls, failed = base.bind_all(base.prepare_all(peers, layer)[0], rows)
    reasons = missing | failed
    absent += [f"{name}: {why}" for name, why in reasons.items() if "deepsparse" in name]
    return found | calls, absent


def measure(
    shape: tuple[int, int, int], zeros: float, threads: int, quick: bool
) -> tuple[list[report.Row], list[str]]:
    """Check, then time all engines on one matrix."""
    m, n, k = shape
    weight = pruned(n, k, zeros)
    x = np.ascontiguousarray(make_input(m, k).T)
    calls, absent = engines(weight, x, threads)
    exact = weight.astype(float) @ x.astype(float)
    top = np.abs(exact).max(initial=0)
    for name, call in calls.items():
        result = np.asarray(call())
        result = result.T if name in LAYERS else result.reshape(n, m)
        if not np.abs(result - exact).max(initial=0) <= ROUNDING * top:
            raise ArithmeticError(f"{name}: wrong result at {shape}")
    timed = timing.run(
        calls,
        rounds=5 if quick else 9,
        seconds=0.05 if quick else 0.3,
        settled=threads > 1,
    ).timings
    nnz = int(np.count_nonzero(weight))
    extra = {"kind": "sparse", "m": m, "n": n, "k": k, "zeros": zeros}
    rows = [
        report.make_row(
            (
                "sparse_f32",
                f"{m}x{n}x{k} {zeros:.0%}",
                engine,
                str(runtime.get_isa()) if "octavo" in engine else "-",
                threads,
            ),
            times,
            (2 * m * nnz, 5 * nnz + 4 * m * (n + k)),
            numpy=timed["numpy"],
            extra=extra,
        )
        for engine, times in timed.items()
    ]
    return rows, absent


def sparse_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Hold the rows with 32 columns and more against the peers; one column is shown only."""
    ratios: dict[tuple[str, bool], list[tuple[float, str]]] = {
        (name, many): [] for many in (True, False) for name in RIVALS
    }
    for (case, threads), found in by_case(rows).items():
        for name in RIVALS:
            if name in found:
                mine = found["octavo linear" if name in LAYERS else "octavo"]
                ratio = found[name]["seconds"] / mine["seconds"]
                many = mine["extra"]["m"] >= 32
                ratios[name, many].append((ratio, f"{case} T={threads}"))
    return [
        at_least(f"M {'>= 32' if many else '= 1'}: {name}", PEER_RATIO if many else 1.0, values)
        for (name, many), values in ratios.items()
    ]


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    rows: list[report.Row] = []
    missing: list[str] = []
    for m, n, k in shapes:
        for zeros in ZEROS:
            made, missing = measure((m, n, k), zeros, threads, quick)
            rows += made
            for row in sorted(made, key=lambda row: row.seconds):
                workers.say(report.row_line(row))
            workers.say()
    for line in missing:
        workers.say(f"left out: {line}")
    return report.document("sparse_f32", rows, {"quick": quick}, versions=versions())


def grid(quick: bool) -> tuple[tuple[int, ...], ...]:
    """Return the usual (M, N, K)."""
    return QUICK if quick else SHAPES


def main(argv: Sequence[str] | None = None) -> int:
    return workers.main_of_script(
        argv, __file__, __doc__ or "", work, grid, sparse_targets, threads="1,2"
    )


if __name__ == "__main__":
    sys.exit(main())
