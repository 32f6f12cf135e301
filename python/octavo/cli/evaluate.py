# SPDX-License-Identifier: Apache-2.0
"""``octavo evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octavo.cli.console import Progress, put, put_json
from octavo.demo.table import align

if TYPE_CHECKING:
    from octavo.evaluation import Evaluation, Perplexity

EXAMPLES = (
    "octavo evaluate small --data test.tsv",
    "octavo evaluate small --data test.tsv --reference path/to/bert",
    "octavo evaluate small --data test.tsv --train train.tsv --reference path/to/bert",
    "octavo evaluate model.gguf --perplexity text.txt --reference model.gguf",
)


def command(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model's folder, or a decoder's .gguf file.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="label<TAB>sentence lines (.tsv), objects with text and label (.jsonl), sentences "
            "(.txt), or arrays with input_ids and labels (.npz).",
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            "--perplexity", metavar="FILE", help="A text in UTF-8, for a decoder to foretell."
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tokens of a window of the text, 512 if not given."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="The model it was made from; a .gguf file is run in float32."
        ),
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
    """Measure a model: accuracy on labels, nearness to the model it was made from, perplexity."""
    if text is not None:
        for name, value in (("--data", data), ("--train", train)):
            if value is not None:
                raise ValueError(f"{name}: expected none beside --perplexity, got {value}")
        return _perplexity(model, text, context, reference, as_json)
    if data is None:
        raise ValueError("expected --data FILE, or --perplexity FILE for a decoder, got neither")
    if context is not None:
        raise ValueError(f"--context: expected --perplexity beside it, got --data {data}")
    from octavo.evaluation import evaluate

    with Progress() as progress:
        found = evaluate(model, data, reference=reference, train=train, on_progress=progress)
    if as_json:
        put_json({"model": str(model), "data": str(data), **found.to_dict()})
    else:
        put("\n".join([f"{found.rows} rows, {found.seconds:.1f} s", *_lines(found)]))
    return 0


def _perplexity(
    model: Path, text: Path, context: int | None, reference: Path | None, as_json: bool
) -> int:
    from octavo.evaluation import perplexity

    with Progress() as progress:
        progress("loading")
        found = perplexity(model, text, context=context, reference=reference, on_progress=progress)
    if as_json:
        names = {
            "path": str(model),
            "reference_path": None if reference is None else str(reference),
        }
        put_json({**names, **found.to_dict()})
    else:
        put("\n".join(_perplexity_lines(found)))
    return 0


def _perplexity_lines(found: Perplexity) -> list[str]:
    windows = "1 window" if found.windows == 1 else f"{found.windows} windows"
    rows = [("", "weights", "keys and values", "perplexity")]
    for name, held in (("model", found.model), ("reference", found.reference)):
        if held is not None:
            rows.append((name, held.weights, held.keys_and_values, f"{held.perplexity:.3f}"))
    lines = [
        f"{found.text}: {found.tokens:,} tokens foretold in {windows} of {found.context}, "
        f"{found.model.seconds:.1f} s, {found.tokens_per_second:,.0f} tokens/s",
        *align(rows),
    ]
    if found.change is not None:
        error = "" if found.change_error is None else f" (standard error {found.change_error:.2%})"
        lines.append(f"above the reference by {found.change:+.2%}{error}")
    lines += found.model.rounded
    recipe = found.model.recipe
    lines.append(f"recipe: {'none' if recipe is None else json.dumps(recipe)}")
    return lines


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
