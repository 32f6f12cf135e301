# SPDX-License-Identifier: Apache-2.0
"""Quantize and dequantize arrays larger than L2, against the copy speed and the peers.

"copy" is the speed of copying as many bytes as the job reads and writes, on the same threads.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from common import workers
from common.targets import Row, Target, at_least, at_most, by_case, percent
from octavo.bench import report
from octavo.bench.peers.worker import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPES = ((1024, 1024), (2048, 3072), (4096, 4096))
QUICK = ((1024, 1024),)
COPY_SHARE = 0.85
PEER_RATIO = 3.0


def quantize_targets(rows: Sequence[Row]) -> list[Target]:
    """Hold the rows against the copy speed and the peers."""
    copy: list[tuple[float, str]] = []
    faults: list[tuple[float, str]] = []
    rivals: dict[str, list[tuple[float, str]]] = {"torch": [], "ort": []}
    for (case, threads), engines in by_case(rows).items():
        row, where = engines.get("octavo"), f"{case} T={threads}"
        if row is None or not row["extra"]["large"]:
            continue
        copy.append((row["share"], where))
        if row["extra"]["faults"] is not None:
            faults.append((row["extra"]["faults"], where))
        for name, found in rivals.items():
            if name in engines:
                found.append((engines[name]["seconds"] / row["seconds"], where))
    return [
        at_least("larger than L2: of the copy speed", COPY_SHARE, copy, percent),
        at_most("larger than L2: page faults of a warm call", 0, faults, "{:.0f}".format),
        at_least("larger than L2: PyTorch", PEER_RATIO, rivals["torch"]),
        at_least("larger than L2: ONNX Runtime", PEER_RATIO, rivals["ort"]),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="ROWSxCOLUMNS,...")
    workers.add_threads(made)
    arguments = made.parse_args(argv)
    shapes = workers.shapes_or(arguments.shapes, 2, QUICK if arguments.quick else SHAPES)
    workers.say(report.header_line())
    return workers.run_all(
        lambda threads: workers.run_request(
            Request("quantize", shapes, threads, quick=arguments.quick)
        ),
        workers.counts_or_usual(arguments.threads),
        quantize_targets,
        arguments.json,
    )


if __name__ == "__main__":
    sys.exit(main())
