# SPDX-License-Identifier: Apache-2.0
"""``octavo demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from octavo.cli.console import Progress, put, put_json, width

EXAMPLES = ("octavo demo", "octavo demo --recipe sparse50-int8", "octavo demo path/to/bert --json")


def command(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Folder with a float model; without it: all-MiniLM-L6-v2, which is downloaded "
            "(83 MB) unless it is here already.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="int8, or a pruning recipe such as sparse50-int8 or 2:4-int8.")
    ] = "int8",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Compress a model and show what that costs and gains.

    Size, latency and the error of each layer, against the model's float32 self.
    """
    from octavo.data.default_model import default_model
    from octavo.demo import run_demo
    from octavo.demo.table import render

    if model is None:
        with Progress() as progress:
            progress("looking for the demo model")
            model = default_model(progress)
    with Progress() as progress:
        result = run_demo(model, progress, recipe=recipe)
    if as_json:
        put_json(result.to_dict())
    else:
        put(render(result, width(sys.stdout)))
    return 0
