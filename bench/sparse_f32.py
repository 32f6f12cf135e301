# SPDX-License-Identifier: Apache-2.0
"""The float32 sparse product against scipy.sparse CSR, PyTorch's sparse CSR and NumPy's dense one.

a (N, K) with 80, 90 and 95% zeros in random places, times x (K, M): float32 in and out, the sparse
form prepared beforehand, all engines interleaved in one process per thread count.  scipy has one
thread.  "octavo linear" is x (M, K) @ a.T, the orientation of a layer.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from common import workers
from common.targets import Target, at_least, by_case
from octavo import SparseMatrix, functional, runtime, spmm
from octavo.bench import report, timing
from octavo.bench.linear import make_input
from octavo.bench.peers.worker import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHAPES = ((1, 4096, 4096), (32, 768, 768), (128, 3072, 768), (512, 768, 768))
QUICK = ((1, 768, 768), (32, 768, 768))
ZEROS = (0.8, 0.9, 0.95)
PEER_RATIO = 2.0
ROUNDING = 1e-5


def pruned(n: int, k: int, zeros: float) -> Any:
    """Return a random (n, k) matrix with that share of zeros."""
    rng = np.random.default_rng((n, k, round(100 * zeros)))
    weight = rng.standard_normal((n, k), dtype=np.float32)
    weight[rng.random((n, k)) < zeros] = 0
    return weight


def engines(weight: Any, x: Any) -> tuple[dict[str, Callable[[], Any]], list[str]]:
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
    return found, absent


def measure(
    shape: tuple[int, int, int], zeros: float, threads: int, quick: bool
) -> tuple[list[report.Row], list[str]]:
    """Check, then time all engines on one matrix."""
    m, n, k = shape
    weight = pruned(n, k, zeros)
    x = np.ascontiguousarray(make_input(m, k).T)
    calls, absent = engines(weight, x)
    exact = weight.astype(float) @ x.astype(float)
    top = np.abs(exact).max(initial=0)
    for name, call in calls.items():
        result = np.asarray(call())
        result = result.T if name == "octavo linear" else result.reshape(n, m)
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
    many: dict[str, list[tuple[float, str]]] = {"torch csr": [], "scipy csr": []}
    single: dict[str, list[tuple[float, str]]] = {"torch csr": [], "scipy csr": []}
    for (case, threads), found in by_case(rows).items():
        mine = found["octavo"]
        kept = many if mine["extra"]["m"] >= 32 else single
        for name in kept:
            if name in found:
                ratio = found[name]["seconds"] / mine["seconds"]
                kept[name].append((ratio, f"{case} T={threads}"))
    return [
        at_least("M >= 32: PyTorch CSR", PEER_RATIO, many["torch csr"]),
        at_least("M >= 32: scipy CSR", PEER_RATIO, many["scipy csr"]),
        at_least("M = 1: PyTorch CSR", 1.0, single["torch csr"]),
        at_least("M = 1: scipy CSR", 1.0, single["scipy csr"]),
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
