# SPDX-License-Identifier: Apache-2.0
"""``octavo evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octavo.cli.console import Progress, put, put_json

if TYPE_CHECKING:
    from octavo.evaluation import Evaluation

EXAMPLES = (
    "octavo evaluate small --data test.tsv",
    "octavo evaluate small --data test.tsv --reference path/to/bert",
    "octavo evaluate small --data test.tsv --train train.tsv --reference path/to/bert",
)


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model's folder.")],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="label<TAB>sentence lines (.tsv), objects with text and label (.jsonl), sentences "
            "(.txt), or arrays with input_ids and labels (.npz).",
        ),
    ],
    reference: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The model it was made from.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Labelled data for a probe, where MODEL has no classification head.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Measure a model: accuracy on labels, nearness to the model it was made from."""
    from octavo.evaluation import evaluate

    with Progress() as progress:
        found = evaluate(model, data, reference=reference, train=train, on_progress=progress)
    if as_json:
        put_json({"model": str(model), "data": str(data), **found.to_dict()})
    else:
        put("\n".join([f"{found.rows} rows, {found.seconds:.1f} s", *_lines(found)]))
    return 0


def _lines(found: Evaluation) -> list[str]:
    lines = []
    if found.accuracy is not None:
        line = f"accuracy of the {found.accuracy_of}: {found.accuracy:.2%}"
        if found.reference_accuracy is not None:
            points = 100 * (found.accuracy - found.reference_accuracy)
            line += f" (reference {found.reference_accuracy:.2%}, {points:+.2f} points)"
        lines.append(line)
    if found.agreement is not None:
        lines.append(f"same answer as the reference: {found.agreement:.2%}")
    if found.cosine_mean is not None and found.cosine_min is not None:
        lines.append(
            f"cosine of sentence vectors: mean {found.cosine_mean:.5f}, min {found.cosine_min:.5f}"
        )
    if found.sqnr is not None:
        lines.append(f"SQNR of sentence vectors: {found.sqnr:.1f} dB")
    return lines
