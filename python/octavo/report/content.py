# SPDX-License-Identifier: Apache-2.0
"""What the page says, from the facts about a model and the rows of benchmarks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo.bench import pays
from octavo.bench.report import busy_note, duration
from octavo.report import figures, layer_figures, theme
from octavo.report.page import Card, Plot
from octavo.timing import geometric_mean

if TYPE_CHECKING:
    from octavo.report.facts import LayerFacts, ModelFacts

_PROBES = (("dot", "gops"), ("read", "gbs"))
_NO_MODEL = "No model: octavo report OUT.html --model FOLDER"
_NO_FLOAT = "Needs the float model: --reference FOLDER"
_NO_INT8 = "No layer is int8"
_NO_ROWS = "Nothing timed: octavo bench --peers --json FILE, then --bench FILE"


def machine_line(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return on what and when a document was measured, and whether that was busy."""
    info = document.get("machine", {})
    known = [
        info.get("cpu"),
        f"{info['cpus']} CPUs" if "cpus" in info else None,
        f"{info['backend']} backend, {info.get('isa')}" if "backend" in info else None,
        f"octavo {info['octavo']}" if "octavo" in info else None,
        f"NumPy {info['numpy']}" if "numpy" in info else None,
        document.get("time"),
        busy_note(rows),
    ]
    return " · ".join(str(part) for part in known if part)


def rooflines(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the limits for each thread count, from the probes of the rows where not measured."""
    found: dict[int, dict[str, Any]] = {}
    for document in documents:
        limits = document.get("rooflines") or [document.get("roofline")]
        for roof in filter(None, limits):
            if {"threads", "dot_gops", "read_gbs"} <= set(roof):
                found.setdefault(int(roof["threads"]), dict(roof))
    probed: dict[int, list[tuple[float, float]]] = {}
    for document in documents:
        for row in document["rows"]:
            extra = row.get("extra", {})
            dot, read = (extra.get(f"{a}_{b}", extra.get(a)) for a, b in _PROBES)
            if row["engine"] in pays.OURS and dot and read:
                probed.setdefault(int(row["threads"]), []).append((float(dot), float(read)))
    for threads, rates in probed.items():
        dot, read = (statistics.median(column) for column in zip(*rates, strict=True))
        made = {"threads": threads, "dot_gops": dot, "read_gbs": read}
        found.setdefault(threads, made)
    return [found[threads] for threads in sorted(found)]


def cards(facts: ModelFacts | None, rows: Sequence[Mapping[str, Any]]) -> list[Card]:
    """Return size, speed, error and "when int8 pays" in a word each."""
    found = pays.verdicts(rows)
    made = []
    if facts is not None:
        ratio = facts.float_bytes / max(1, facts.nbytes)
        text = f"{facts.nbytes / 1e6:.1f} MB, {facts.float_bytes / 1e6:.1f} MB in float32"
        made.append(Card("Size", f"{ratio:.2f}× smaller", text))
    made.append(_speed_card(found))
    if facts is not None:
        made.append(_error_card(facts))
    if found:
        clear = [verdict.verdict for verdict in found if not verdict.disturbed]
        value = f"{clear.count('pays')} of {len(clear)} cases" if clear else "not told"
        made.append(Card("When int8 pays here", value, pays.summary(found)))
    return made


def _speed_card(found: Sequence[pays.Verdict]) -> Card:
    if not found:
        return Card("Speed", "not measured", _NO_ROWS)
    clear = [verdict for verdict in found if not verdict.disturbed]
    if not clear:
        return Card("Speed", "not told", f"The machine was busy: {found[-1].disturbed}")
    whole = [verdict for verdict in clear if verdict.case.count("x") == 1]
    if whole:
        last = whole[-1]
        return Card(
            "Speed",
            _faster(last.ratio, last.low, last.high),
            f"{last.case} tokens: {duration(last.seconds)}, {duration(last.rival_seconds)} in "
            f"{last.rival}, {last.threads} thread{'s' * (last.threads > 1)}",
        )
    figures = zip(*((verdict.ratio, verdict.low, verdict.high) for verdict in clear), strict=True)
    means = [geometric_mean(list(column)) for column in figures]
    left = f" ({len(found) - len(clear)} disturbed ones left out)" if found != clear else ""
    text = f"than float32: geometric mean of {len(clear)} cases{left}"
    return Card("Speed", _faster(*means), text)


def _faster(ratio: float, low: float, high: float) -> str:
    """Return the headline, no figure where the band leaves room for chance."""
    if low <= 1 <= high:
        return "about even"
    return f"{ratio:.2f}× faster" if ratio >= 1 else f"{1 / ratio:.2f}× slower"


def _error_card(facts: ModelFacts) -> Card:
    known = [layer for layer in facts.layers if layer.relative is not None]
    if not known:
        return Card("Error", "not measured", _NO_FLOAT)
    worst = max(known, key=lambda layer: layer.relative or 0.0)
    return Card(
        "Error",
        f"cosine {facts.cosine_mean:.4f}",
        f"least {facts.cosine_min:.4f} over {facts.text}; worst layer {worst.relative:.1%} "
        f"({worst.name})",
    )


def plots(
    facts: ModelFacts | None,
    rows: Sequence[Mapping[str, Any]],
    roofs: Sequence[Mapping[str, Any]],
) -> list[Plot]:
    """Return the six plots, each with words for those who do not see it."""
    layers, text = ([], "") if facts is None else (facts.layers, facts.text)
    lacking = _NO_MODEL if facts is None else ""
    spoken = _spoken(layers, rows)

    def plot(name: str, figure: Any, title: str, caption: str, missing: str) -> Plot:
        if figure is None:
            return Plot(title, "", None, missing)
        label = escape(f"{title}: {spoken[name]}")
        return Plot(title, caption, theme.inline_svg(figure, name, label), missing)

    with theme.style():
        return [
            plot(
                "size",
                layer_figures.size_figure(layers) if layers else None,
                "Size by layer",
                "Bytes of each block, float32 → as stored, in MB.",
                lacking,
            ),
            plot(
                "latency",
                figures.latency_figure(rows),
                "Latency",
                "Each engine's time over octavo's (under the case); right of the line is"
                f" slower.{_left_out(rows)}",
                _NO_ROWS,
            ),
            plot(
                "error",
                layer_figures.error_figure(layers),
                "Error per layer",
                f"Each layer alone, on its float32 input ({text}); a perfect copy has 0 %.",
                lacking or _NO_FLOAT,
            ),
            plot(
                "roofline",
                figures.roofline_figure(rows, roofs),
                "Roofline",
                "Int8 speed under the machine's limits; points above a slope had cached operands.",
                _NO_ROWS,
            ),
            plot(
                "ranges",
                layer_figures.activation_figure(layers),
                "Activation ranges",
                f"Values at each layer's input ({text}): thin all of them, thick 99.8 %.",
                lacking,
            ),
            plot(
                "saturation",
                layer_figures.saturation_figure(layers),
                "Saturation",
                "Dots: weights at the ends of their range, ±127 with 8 bits."
                " Squares: inputs that a static scale clips.",
                lacking or _NO_INT8,
            ),
        ]


def _left_out(rows: Sequence[Mapping[str, Any]]) -> str:
    count = len(figures.cases(rows))
    most = figures.MOST_CASES
    return f" The first {most} of {count} cases; the table has all." if count > most else ""


def _spoken(layers: Sequence[LayerFacts], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a sentence for each plot that says what is to be seen in it."""
    largest = max(layers, key=lambda layer: layer.float_bytes, default=None)
    known = [layer for layer in layers if layer.relative is not None]
    worst = max(known, key=lambda layer: layer.relative or 0.0, default=None)
    ranged = [layer for layer in layers if layer.inputs is not None]
    widest = max(ranged, key=_reach, default=None)
    coded = [layer for layer in layers if layer.full_weights is not None]
    fullest = max(coded, key=lambda layer: layer.full_weights or 0.0, default=None)
    ours = [row for row in rows if row["engine"] in pays.OURS and row.get("limit_seconds")]
    shares = [row["limit_seconds"] / row["seconds"] for row in ours]
    return {
        "size": ""
        if largest is None
        else f"{largest.name} is the largest layer, {largest.float_bytes / 1e6:.1f} MB in float32 "
        f"and {largest.nbytes / 1e6:.1f} MB as stored",
        "latency": pays.summary(pays.verdicts(rows)),
        "error": "" if worst is None else f"at most {worst.relative:.2%}, in {worst.name}",
        "roofline": ""
        if not shares
        else f"octavo reaches {min(shares):.0%} to {max(shares):.0%} of the limits",
        "ranges": ""
        if widest is None
        else f"the widest input, that of {widest.name}, reaches {_reach(widest):.3g}",
        "saturation": ""
        if fullest is None
        else f"at most {fullest.full_weights:.2%} of weights are at the ends of their range,"
        f" in {fullest.name}",
    }


def _reach(layer: LayerFacts) -> float:
    return 0.0 if layer.inputs is None else max(-layer.inputs.low, layer.inputs.high)


def summary(
    path: Path,
    size: int,
    facts: ModelFacts | None,
    rows: Sequence[Mapping[str, Any]],
    drawn: Sequence[Plot],
) -> dict[str, Any]:
    """Return what :func:`octavo.report.write` returns."""
    return {
        "path": str(path),
        "bytes": size,
        "model": None if facts is None else facts.name,
        "float_bytes": None if facts is None else facts.float_bytes,
        "stored_bytes": None if facts is None else facts.nbytes,
        "cosine_mean": None if facts is None else facts.cosine_mean,
        "cosine_min": None if facts is None else facts.cosine_min,
        "int8_pays": [verdict.to_json() for verdict in pays.verdicts(rows)],
        "plots": [plot.title for plot in drawn if plot.svg],
    }
