# SPDX-License-Identifier: Apache-2.0
"""Each tier of this machine against oneDNN and FBGEMM held to the same instructions.

One process per tier. Our time includes the quantization of the activations; the time of "onednn
qlinear bare" leaves it out.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from common import workers
from common.linear_targets import tier_targets
from common.targets import Target, format_table
from octavo import runtime
from octavo.bench import report
from octavo.bench.peers.worker import Request, merge

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER_SETTINGS = {
    "avx2": ("AVX2", "avx2", "AVX2", "AVX2"),
    "avxvnni": ("AVX2_VNNI", "avx2", "AVX2", "AVX2"),
    "avx512vnni": ("AVX512_CORE_VNNI", "avx512", "AVX512_E1", "AVX512_E1"),
    "avx512vbmi2": ("AVX512_CORE_VNNI", "avx512", "AVX512_E1", "AVX512_E1"),
    "amx_int8": ("AVX512_CORE_AMX", "avx512", "AVX512_E4", "AVX512_E1"),
}
"""Tier -> the peers' own words for it, in the order of `PEER_VARIABLES`."""

PEER_VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
    "FBGEMM_ENABLE_INSTRUCTIONS",
)

PEERS = ("onednn qlinear bare", "torch int8 fbgemm", "torch int8 onednn", "torch float32")
LAYERS = ((768, 768), (3072, 768), (768, 3072), (1024, 1024))
ROWS = (1, 8, 32, 128, 512)
QUICK = ((1, 768, 768), (128, 768, 768))


def settings(tier: str) -> dict[str, str]:
    """Return the environment that forces `tier` here and its equal in the peers."""
    values = PEER_SETTINGS.get(tier)
    peers = dict(zip(PEER_VARIABLES, values, strict=True)) if values else {}
    return {"OCTAVO_ISA": tier, **peers}


def choose(text: str | None) -> tuple[list[str], list[str]]:
    """Return the tiers to run and those that this machine does not have."""
    usable = [str(name) for name in runtime.isa_tiers()]
    if text:
        asked = [name.strip() for name in text.split(",")]
    else:
        asked = [*(name for name in usable if name in PEER_SETTINGS or name == "numpy")]
        asked += [name for name in PEER_SETTINGS if name not in usable]
    return [name for name in asked if name in usable], [n for n in asked if n not in usable]


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="MxNxK,...")
    workers.add_threads(made, "1")
    made.add_argument("--isa", metavar="LIST", help="tiers (default: all that have a rival)")
    arguments = made.parse_args(argv)
    usual = QUICK if arguments.quick else [(m, n, k) for n, k in LAYERS for m in ROWS]
    shapes = workers.shapes_or(arguments.shapes, 3, usual)
    tiers, missing = choose(arguments.isa)
    documents, targets = (
        [],
        [Target(name, "-", "not on this machine or build", None) for name in missing],
    )
    for tier in tiers:
        workers.say(f"{tier}: peers held to {', '.join(PEER_SETTINGS.get(tier, ('nothing',)))}")
        workers.say(report.header_line())
        for threads in workers.counts_or_usual(arguments.threads):
            request = Request("linear", shapes, threads, PEERS, arguments.quick)
            document = workers.run_request(request, settings(tier))
            if document is None:
                continue
            for row in document["rows"]:
                row["extra"]["tier"] = tier
                # The peers ran under this tier's limit: rows of two tiers must not be confused.
                row["isa"] = tier
            documents.append(document)
            targets += tier_targets(tier, document["rows"])
    workers.say(format_table(targets))
    if not documents:
        return 1
    listed = [target.to_json() for target in targets]
    workers.finish(arguments.json, merge(documents, bench="tiers", targets=listed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
