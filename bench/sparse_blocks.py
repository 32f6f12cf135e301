# SPDX-License-Identifier: Apache-2.0
"""Int8 layers whose zeros are whole blocks, against octavo's dense int8 layer.

Float32 in and out, all engines interleaved in one process per thread count. OCTAVO_ISA forces a
tier. "nothing" is a layer of zeros: quantization of the input and the epilogue, which blocks cannot
make cheaper. What is left of a time without it is the product.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from common import workers
from common.targets import Target, at_least, by_case
from octavo import Linear, runtime, timing
from octavo.algorithms import pruning
from octavo.bench import report
from octavo.bench.linear import make_input
from octavo.bench.peers.worker import versions
from octavo.nn import SparseLinear

if TYPE_CHECKING:
    from collections.abc import Sequence

ZEROS = (0.5, 0.7, 0.8, 0.9, 0.95)
QUICK_ZEROS = (0.5, 0.9)
BLOCKS = {
    (16, 4): "bsr16x4",
    (16, 64): "bsr16x4",
    (1, 4): "bsr1x4",
    (4, 1): "bsr4x1",
}
"""Outputs and inputs of a block, and the format that holds it."""
SHAPES = (
    *((m, 768, 768) for m in (1, 32, 128, 512)),
    *((m, 768, 3072) for m in (1, 32, 128)),
    *((m, 4096, 4096) for m in (1, 32)),
)
QUICK = ((1, 768, 768), (32, 768, 768))
SHARE = 0.8
"""Of the speed that follows from doing only the work that is left."""
MANY = 32
"""Rows from which the share counts: with fewer, bytes do."""


def measure(
    shape: tuple[int, ...], block: tuple[int, int], zeros: float, threads: int, quick: bool
) -> list[report.Row]:
    """Check, then time all engines on one weight."""
    m, n, k = shape
    rng = np.random.default_rng((n, k))
    dense = rng.standard_normal((n, k), dtype=np.float32) / np.float32(np.sqrt(k))
    weight = dense * pruning.block(dense, zeros, *block)
    layers: dict[str, Linear] = {
        "dense": Linear.from_float(weight),
        "blocks": SparseLinear.from_float(weight, format=BLOCKS[block]),
        "auto": SparseLinear.from_float(weight),
        "nothing": SparseLinear.from_float(np.zeros_like(weight), format="bsr16x4"),
    }
    x = make_input(m, k)
    expected = layers["dense"](x)
    for name in ("blocks", "auto"):
        if not np.array_equal(layers[name](x), expected):
            raise ArithmeticError(f"{name}: not the bits of the dense layer")
    timed = timing.run(
        {name: partial(layer, x) for name, layer in layers.items()},
        rounds=5 if quick else 9,
        seconds=0.03 if quick else 0.1,
        settled=threads > 1,
    ).timings
    nnz = int(np.count_nonzero(weight))
    case = f"{m}x{n}x{k} {zeros:.0%} {block[0]}x{block[1]}"
    return [
        report.make_row(
            ("sparse_blocks", case, name, str(runtime.get_isa()), threads),
            times,
            (2 * m * nnz, nnz + 4 * m * (n + k)),
            extra={
                "kind": "ours",
                "m": m,
                "n": n,
                "k": k,
                "zeros": zeros,
                "nbytes": layers[name].nbytes,
                "format": getattr(layers[name], "format", "dense"),
            },
        )
        for name, times in timed.items()
    ]


def gains(found: dict[str, dict[str, Any]]) -> tuple[float, float]:
    """Return the speed of blocks over dense: of the whole layer, and of the product alone."""
    dense, mine, nothing = (
        float(found[name]["seconds"]) for name in ("dense", "blocks", "nothing")
    )
    return dense / mine, (dense - nothing) / max(mine - nothing, 1e-9)


def block_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Hold the rows against the speed that follows from the share of zeros."""
    many: list[tuple[float, str]] = []
    single: list[tuple[float, str]] = []
    layer: list[tuple[float, str]] = []
    auto: list[tuple[float, str]] = []
    for (case, threads), found in by_case(rows).items():
        kept, where = 1 - found["dense"]["extra"]["zeros"], f"{case} T={threads}"
        whole, alone = gains(found)
        product = many if found["dense"]["extra"]["m"] >= MANY else single
        product.append((alone * kept, where))
        layer.append((whole * kept, where))
        auto.append((found["dense"]["seconds"] / found["auto"]["seconds"], where))
    return [
        at_least("M >= 32: product over dense, times the share that is left", SHARE, many),
        at_least("M = 1: the same", SHARE, single),
        at_least("layer over dense, times the share that is left", SHARE, layer),
        at_least("auto over dense", 0.97, auto),
    ]


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table: shape and block -> speed of layer and product over dense, by zeros."""
    lines: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {}
    for (case, threads), found in by_case(rows).items():
        shape, zeros, block = case.split()
        lines.setdefault((shape, block, str(threads)), {})[zeros] = gains(found)
    header = list(dict.fromkeys(zeros for line in lines.values() for zeros in line))
    return report.table(
        ("shape", "block", "threads", *header),
        [
            (*key, *(f"{whole:.1f} ({alone:.1f})" for whole, alone in line.values()))
            for key, line in lines.items()
        ],
    )


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    rows: list[report.Row] = []
    for shape in shapes:
        for block in BLOCKS:
            for zeros in QUICK_ZEROS if quick else ZEROS:
                rows += measure(shape, block, zeros, threads, quick)
    document = report.document("sparse_blocks", rows, {"quick": quick}, versions=versions())
    workers.say("speed over dense: layer (product)")
    workers.say(summary(document["rows"]))
    return document


def main(argv: Sequence[str] | None = None) -> int:
    return workers.main_of_script(
        argv,
        __file__,
        __doc__ or "",
        work,
        lambda quick: QUICK if quick else SHAPES,
        block_targets,
        threads="1",
    )


if __name__ == "__main__":
    sys.exit(main())
