# SPDX-License-Identifier: Apache-2.0
"""``octavo report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from octavo.cli.console import Progress, put, put_json

EXAMPLES = (
    "octavo report report.html --model path/to/bert",
    "octavo report report.html --model artifact --reference path/to/bert",
    "octavo report report.html --bench before.json --bench after.json",
)


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .html file to write.")],
    model: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A float model, or an artifact of octavo compress."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The float model of an artifact.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Inputs to measure on: .txt (a sentence a line), .jsonl or .npz.",
        ),
    ] = None,
    bench: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Results of octavo bench --json; without any, it times now."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Heading of the page.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Time with short rounds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> int:
    """Write a page about a model and this machine.

    Size, speed and error with plots, in one HTML file that fetches nothing.
    """
    from octavo.report import write

    with Progress() as progress:
        result = write(
            out,
            model=model,
            reference=reference,
            calibration=calibration,
            bench=bench or [],
            title=title,
            seconds=0.03 if quick else 0.3,
            progress=progress,
        )
    if as_json:
        put_json(result)
    else:
        plots = ", ".join(result["plots"]).lower() or "no plots"
        put(f"{out}: {result['bytes'] / 1e3:.0f} kB; {plots}")
    return 0
