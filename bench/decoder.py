# SPDX-License-Identifier: Apache-2.0
"""A decoder against llama.cpp: reading a prompt, decoding one text and eight at once.

A GGUF file runs as it is and in int8, in llama.cpp as it is and in 8 and 4 bits (Q8_0, Q4_0).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from common import workers
from common.targets import Row, Target, at_least, by_case, percent
from octavo.bench import decoder, report
from octavo.bench.peers.worker import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

Q8, Q4 = "llama.cpp Q8_0", "llama.cpp Q4_0"
# Decoding and prompts in int8, decoding a file as it is: of tiers that dot int8, and of others.
WITH_DOT, WITHOUT = (3.0, 4.0, 2.5), (1.5, 1.5, 1.3)
OF_LIMIT = 0.6
EIGHT_AGAINST_ONE = 4.0


def decoder_targets(rows: Sequence[Row]) -> list[Target]:
    """Hold the rows against the project's targets."""
    has_dot = any(
        "vnni" in row["isa"] or "vbmi2" in row["isa"] or "amx" in row["isa"] for row in rows
    )
    decode, prompt, few_bits = WITH_DOT if has_dot else WITHOUT
    faster: dict[str, list[tuple[float, str]]] = {"decode": [], "prompt": [], "as it is": []}
    shares: list[tuple[float, str]] = []
    together: list[tuple[float, str]] = []
    cases = by_case(rows)
    for (case, threads), engines in cases.items():
        ours, where = engines[decoder.OURS], f"{case}, {threads} threads"
        int8 = engines.get(decoder.INT8, ours)
        kind = case.split()[0]
        rivals = [row for name, row in engines.items() if name.startswith("llama.cpp")]
        if case == "decode 1x1":
            rivals = [engines[Q8]] if Q8 in engines else []
            if decoder.INT8 in engines and Q4 in engines:
                ratio = engines[Q4]["seconds"] / ours["seconds"]
                faster["as it is"].append((ratio, where))
            shares.append((ours["share"], where))
            eight = cases.get(("decode 8x1", threads), {}).get(decoder.OURS)
            if eight is not None:
                together.append((8 * ours["seconds"] / eight["seconds"], f"{threads} threads"))
        if rivals and case != "decode 8x1":
            best = min(float(row["seconds"]) for row in rivals)
            faster[kind].append((best / int8["seconds"], where))
    return [
        at_least("decode in int8: llama.cpp Q8_0", decode, faster["decode"]),
        at_least("decode as it is: llama.cpp Q4_0", few_bits, faster["as it is"]),
        at_least("prompt in int8: the fastest of llama.cpp's", prompt, faster["prompt"]),
        at_least("decode: share of the read limit", OF_LIMIT, shares, percent),
        at_least("8 texts together: tokens/s of one", EIGHT_AGAINST_ONE, together),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="BATCHxTOKENS,...")
    workers.add_threads(made)
    made.add_argument("--model", metavar="PATH", required=True, help="GGUF file or model folder")
    arguments = made.parse_args(argv)
    shapes = workers.shapes_or(arguments.shapes, 2, decoder.SHAPES)
    path = str(Path(arguments.model).resolve())
    with tempfile.TemporaryDirectory(prefix="octavo-bench-decoder-") as workdir:
        workers.say(report.header_line())
        return workers.run_all(
            lambda threads: workers.run_request(
                Request("decoder", shapes, threads, (), arguments.quick, path, workdir)
            ),
            workers.counts_or_usual(arguments.threads),
            decoder_targets,
            arguments.json,
        )


if __name__ == "__main__":
    sys.exit(main())
