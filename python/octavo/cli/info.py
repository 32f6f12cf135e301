# SPDX-License-Identifier: Apache-2.0
"""``octavo info``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from octavo import runtime
from octavo.cli.console import pairs, put, put_json, width

EXAMPLES = ("octavo info", "octavo info --json", "OCTAVO_ISA=avx2 octavo info")


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Show backend, tier, threads and CPU features.

    Each choice comes with its reason.
    """
    result = runtime.cpu_info()
    if as_json:
        put_json(result)
    else:
        put(pairs(_rows(result), width(sys.stdout)))
    return 0


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return `runtime.cpu_info()` as labels and values, each choice with its reason."""
    tiers, compiled = result["isa_tiers"], result["compiled_isa_tiers"]
    absent = [name for name in compiled if name not in tiers]
    lacking = f"; compiled, but not usable here: {', '.join(absent)}" if absent else ""
    forced = "" if result["isa"] == tiers[0] else " (forced)"
    features = [name for name, present in result["features"].items() if present]
    threads, default = result["num_threads"], result["default_num_threads"]
    why = "the CPUs this process may use" if threads == default else f"set; default {default}"
    if result["backend"] == "numpy":
        why = "NumPy's BLAS has threads of its own"
    return [
        ("octavo", result["version"]),
        ("backend", f"{result['backend']}: {result['backend_reason']}"),
        ("tier", f"{result['isa']}{forced}; usable, best first: {', '.join(tiers)}{lacking}"),
        ("threads", f"{threads} ({why}; {result['logical_cpus']} logical CPUs)"),
        ("memory", f"up to {result['result_cache'] / 2**20:.0f} MiB kept for results"),
        ("cpu", f"{result['cpu']} ({result['machine']})"),
        ("features", " ".join(features) or "none known"),
        ("compiler", result["compiler"]),
        ("python", f"{result['python']}, NumPy {result['numpy']}"),
    ]
