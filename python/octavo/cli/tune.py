# SPDX-License-Identifier: Apache-2.0
"""``octavo tune``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from octavo import runtime, tuning
from octavo.bench.tune import measure
from octavo.cli.console import Progress, put, put_json

EXAMPLES = ("octavo tune", "octavo tune --dry-run --json")


def command(
    out: Annotated[
        Path | None,
        typer.Option(help="Where to keep the table (default: $OCTAVO_TUNING or the home folder)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, keep nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> int:
    """Measure which sparse formats pay on this machine.

    Later runs on this CPU choose by the result wherever a format is "auto". Takes some seconds for
    each instruction-set tier; best on a quiet machine.
    """
    path = out or runtime.tuning_file()
    if path is None and not dry_run:
        raise ValueError("--out: expected a file, since OCTAVO_TUNING is empty or there is no home")
    total = len(runtime.isa_tiers()) * len(tuning.ROWS)
    done = itertools.count()
    with Progress() as progress:
        table = measure(lambda tier, rows: progress(f"{tier}, {rows} rows", next(done) / total))
    if path is not None and not dry_run:
        tuning.save(table, path)
    if as_json:
        put_json(table)
        return 0
    put("a unit of work, or 64 bytes, over 64 dense products; by rows: " + _cells(tuning.ROWS))
    for tier, formats in table.items():
        for name, values in formats.items():
            put(f"{tier:<12} {name:<10} {_cells(values)}")
    if path is not None and not dry_run:
        put(f"kept in {path}")
    return 0


def _cells(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:>6g}" for value in values)
