# SPDX-License-Identifier: Apache-2.0
"""Networks on images against LiteRT with XNNPACK: TensorFlow Lite files, in int8 and in float32.

Each file runs in both, one image at a time; memory is that of a process that only runs the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import workers
from common.targets import Row, Target, at_least, at_most, by_case
from octavo.bench import report, tflite
from octavo.bench.peers import litert
from octavo.bench.peers.worker import Request, merge

if TYPE_CHECKING:
    from collections.abc import Sequence

# Times XNNPACK's int8 and our float32: of tiers that dot int8, with AMX, of others.
WITH_DOT, WITH_AMX, WITHOUT = (1.3, 1.0), (2.0, 1.0), (1.0, 2.0)
MEMORY = 1.2


def image_targets(rows: Sequence[Row]) -> list[Target]:
    """Hold the rows against the project's targets."""
    tiers = {row["isa"] for row in rows}
    has_dot = any("vnni" in isa or "vbmi2" in isa for isa in tiers)
    bounds = WITH_AMX if "amx_int8" in tiers else WITH_DOT if has_dot else WITHOUT
    faster, memory = [], []
    of_float: dict[tuple[int, int], dict[str, float]] = {}
    for (case, threads), engines in by_case(rows).items():
        ours, peer = engines[tflite.OURS], engines.get(litert.NAME)
        where, extra = f"{case}, {threads} threads", ours["extra"]
        of_float.setdefault((extra["net"], threads), {})[extra["role"]] = ours["seconds"]
        if peer is None:
            continue
        if extra["role"] == "int8":
            faster.append((peer["seconds"] / ours["seconds"], where))
        if "peak" in extra and "peak" in peer["extra"]:
            memory.append((extra["peak"] / peer["extra"]["peak"], where))
    own = [
        (times["float"] / times["int8"], f"network {net}, {threads} threads")
        for (net, threads), times in of_float.items()
        if len(times) == 2
    ]
    return [
        at_least("int8: LiteRT", bounds[0], faster),
        at_least("int8: our float32", bounds[1], own),
        at_most("memory: LiteRT's", MEMORY, memory),
    ]


def _measure(files: Sequence[tuple[str, int, str]], threads: int, quick: bool) -> Any:
    """Measure all files with one thread count; return the document, None if one fails."""
    documents = []
    for role, net, path in files:
        request = Request("tflite", tflite.SHAPES, threads, (), quick, path)
        document = workers.run_request(request)
        if document is None:
            return None
        for row in document["rows"]:
            row["extra"].update(role=role, net=net)
        documents.append(document)
    return merge(documents)


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "")
    workers.add_threads(made)
    made.add_argument("--int8", metavar="FILE", nargs="+", required=True, help="full-integer files")
    made.add_argument("--float32", metavar="FILE", nargs="*", default=(), help="the same in float")
    arguments = made.parse_args(argv)
    files = [
        (role, net, str(Path(path).resolve()))
        for role, paths in (("int8", arguments.int8), ("float", arguments.float32))
        for net, path in enumerate(paths)
    ]
    workers.say(report.header_line())
    return workers.run_all(
        lambda threads: _measure(files, threads, arguments.quick),
        workers.counts_or_usual(arguments.threads),
        image_targets,
        arguments.json,
    )


if __name__ == "__main__":
    sys.exit(main())
