# SPDX-License-Identifier: Apache-2.0
"""Our linear layer, in int8 and float32, against every peer that is installed, on one input."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from octavo import Linear
from octavo.bench import linear as ours
from octavo.bench import machine, roofline
from octavo.bench.blas import limited
from octavo.bench.cases import time_case
from octavo.bench.peers import base
from octavo.bench.peers.worker import Request, Tell
from octavo.bench.report import Row

if TYPE_CHECKING:
    import numpy as np


MAX_PEER_ERROR = 0.3
"""Peers may be coarser than we are (per-tensor scales, sums that saturate); this finds broken
ones."""
MAX_FLOAT_ERROR = 1e-4


def _measure_shape(
    x: np.ndarray[Any, Any],
    layer: base.Layer,
    ready: dict[str, base.Bind],
    kinds: dict[str, str],
    quick: bool,
) -> tuple[list[Row], dict[str, str]]:
    """Time all engines on one input; return the rows and the peers that failed."""
    problem = ours.Problem(x, layer.weight, layer.bias)
    m, n, k = problem.shape
    calls, failed = base.bind_all(ready, x, ours.checker(problem, MAX_PEER_ERROR))
    mine = Linear.from_float(layer.weight, layer.bias)
    full = Linear.from_float(layer.weight, layer.bias, kind="float32")
    ours.checker(problem)("octavo", mine(x))
    ours.checker(problem, MAX_FLOAT_ERROR)("octavo float32", full(x))
    sizes = {"m": m, "n": n, "k": k, "l2": machine.l2_bytes()}
    told = {engine: {"kind": kind, **sizes} for engine, kind in kinds.items()}
    rows = time_case(
        ("linear", f"{m}x{n}x{k}", layer.threads),
        {
            "octavo": partial(mine, x),
            "octavo float32": partial(full, x),
            "numpy float32": problem.numpy,
            **calls,
        },
        ours.work(m, n, k),
        "numpy float32",
        probes={"weight_read": partial(roofline.read_speed, n * k)},
        extra=told,
        rounds=3 if quick else 7,
        seconds=0.03 if quick else 0.35,
    )
    return rows, failed


def measure(request: Request, tell: Tell) -> dict[str, Any]:
    """Measure all shapes of `request` in this process; return what the document adds to the rows.

    Weights are packed once a layer, for every peer that is there; `tell` gets the rows of each
    shape as they come.
    """
    peers, absent = base.find(request.only)
    kinds = {peer.name: peer.kind for peer in peers} | {"octavo": "ours"}
    kinds |= dict.fromkeys(("octavo float32", "numpy float32"), "float")
    failed: list[str] = []
    with limited(request.threads):
        for n, k in dict.fromkeys((n, k) for _, n, k in request.shapes):
            layer = base.Layer(*ours.make_layer(n, k), request.threads)
            ready, refused = base.prepare_all(peers, layer)
            failed += [f"{n}x{k} {name}: {reason}" for name, reason in refused.items()]
            for m in [m for m, *rest in request.shapes if rest == [n, k]]:
                x = ours.make_input(m, k)
                rows, wrong = _measure_shape(x, layer, ready, kinds, request.quick)
                failed += [f"{m}x{n}x{k} {name}: {reason}" for name, reason in wrong.items()]
                tell(rows)
            del ready
    return {"absent": absent, "failed": failed}
