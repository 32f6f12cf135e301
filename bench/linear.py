# SPDX-License-Identifier: Apache-2.0
"""Our linear layer, in int8 and float32, against every peer that is installed.

Float32 in and out, quantization included, weights prepared beforehand; one process per thread
count, all engines interleaved in it, one thread pool awake at a time.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from common import workers
from common.linear_targets import linear_targets
from octavo.bench import report
from octavo.bench.peers.worker import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYERS = (
    (384, 384),
    (1536, 384),
    (768, 768),
    (3072, 768),
    (768, 3072),
    (4096, 4096),
    (11008, 4096),
)
ROWS = (1, 8, 32, 128, 512, 2048)
SMALL = ((1, 64, 64), (4, 64, 64), (1, 128, 128), (32, 64, 64))
"""Shapes below the grid: only NumPy's float32 and the cost of a call matter there."""

QUICK = ((1, 64, 64), (1, 384, 384), (32, 384, 384), (128, 768, 768), (1, 4096, 4096))


def grid(quick: bool) -> tuple[tuple[int, int, int], ...]:
    """Return the usual (M, N, K)."""
    if quick:
        return QUICK
    return SMALL + tuple((m, n, k) for n, k in LAYERS for m in ROWS)


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="MxNxK,...")
    workers.add_threads(made)
    made.add_argument("--only", metavar="WORDS", default="", help="peers with one of these words")
    arguments = made.parse_args(argv)
    shapes = workers.shapes_or(arguments.shapes, 3, grid(arguments.quick))
    only = tuple(arguments.only.split(","))
    workers.say(report.header_line())
    return workers.run_all(
        lambda threads: workers.run_request(
            Request("linear", shapes, threads, only, arguments.quick)
        ),
        workers.counts_or_usual(arguments.threads),
        linear_targets,
        arguments.json,
    )


if __name__ == "__main__":
    sys.exit(main())
