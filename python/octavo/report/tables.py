# SPDX-License-Identifier: Apache-2.0
"""The page's tables: what the plots show, in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from octavo.bench import pays
from octavo.bench.report import cells, duration, row_of
from octavo.report.page import Table

if TYPE_CHECKING:
    from octavo.report.facts import ModelFacts

MOST_PAIRS = 11
"""As many as fit beside the plots."""


def pays_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return int8 against the fastest float32 measured with it; None without such pairs."""
    found = pays.verdicts(rows)
    if not found:
        return None
    several = len({verdict.threads for verdict in found}) > 1
    lines = [
        (
            f"{verdict.case} T={verdict.threads}" if several else verdict.case,
            duration(verdict.seconds),
            duration(verdict.rival_seconds),
            verdict.rival.removesuffix(" float32"),
            pays.faster(verdict, "×"),
            verdict.verdict,
        )
        for verdict in found
    ]
    header = ("case", "int8", "float32", "by", "faster", "verdict")
    return Table("Int8 against the fastest float32", header, lines, most=MOST_PAIRS)


def tables(facts: ModelFacts | None, documents: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return the tables below the plots: what they show, in figures."""
    made = []
    if facts is not None:
        made.append(_layer_table(facts))
    rows = [row for document in documents for row in document["rows"]]
    if rows:
        header = ("case", "engine", "tier", "threads", "time", "band", "GOP/s", "GB/s")
        lines = [cells(row_of(row)) for row in rows]
        title = "Timings: median and band of the rounds that count, without the slowest third"
        made.append(Table(title, (*header, "of roofline", "vs NumPy"), lines, text=3))
    made += [_machine_table(document) for document in documents]
    return made


def _layer_table(facts: ModelFacts) -> Table:
    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    lines = []
    for layer in facts.layers:
        inputs = layer.inputs
        span = "–" if inputs is None else f"{inputs.low:.2f} … {inputs.high:.2f}"
        inner = "–" if inputs is None else f"{inputs.inner_low:.2f} … {inputs.inner_high:.2f}"
        percent = None if layer.relative is None else 100 * layer.relative
        lines.append(
            (
                layer.name,
                layer.kind,
                "×".join(map(str, layer.shape)),
                f"{layer.float_bytes / 1e3:.1f}",
                f"{layer.nbytes / 1e3:.1f}",
                f"{100 * layer.zeros:.1f}",
                layer.held,
                str(layer.bits),
                layer.inputs_as or "–",
                "–" if layer.scale is None else "{:.2g} … {:.2g}".format(*layer.scale),
                number(layer.input_scale, ".3g"),
                number(layer.full_weights and 100 * layer.full_weights, ".2f"),
                number(layer.clipped_inputs and 100 * layer.clipped_inputs, ".3f"),
                "" if layer.speed is None else f"{layer.speed:.1f}",
                number(percent, ".2f"),
                number(layer.sqnr_db, ".1f"),
                span,
                inner,
            )
        )
    header = ("layer", "kind", "shape", "float32, kB", "stored, kB", "zeros, %", "held")
    codes = (
        "bits",
        "inputs",
        "scale",
        "input scale",
        "at the ends, %",
        "clipped inputs, %",
        "× dense speed",
    )
    errors = ("error, %", "SQNR, dB", "input range", "99.8 % of it")
    return Table("Layers", header + codes + errors, lines, text=2)


def _machine_table(document: Mapping[str, Any]) -> Table:
    facts = {**document.get("machine", {}), **document.get("versions", {})}
    facts.update({f"left out: {name}": why for name, why in document.get("absent", {}).items()})
    rows = [(str(key), str(value)) for key, value in facts.items()]
    failed = [("failed", str(item)) for item in document.get("failed", [])]
    title = f"Machine and versions: {document.get('bench', '?')}, {document.get('time', '?')}"
    return Table(title, ("", ""), [*rows, *failed], text=2)
