# SPDX-License-Identifier: Apache-2.0
"""The plots of what was timed: against other engines, and against the machine's limits."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from octavo.bench.files import write_bytes
from octavo.bench.pays import OURS
from octavo.bench.report import duration
from octavo.report import theme

require_matplotlib = theme.require_matplotlib

MOST_CASES = 14
"""More rows of dots than this cannot be told apart; the table has them all."""

_FAMILIES = ("octavo", "numpy", "torch", "ort", "openvino", "ctranslate2", "onednn")


def _family(engine: str) -> str:
    return next((name for name in _FAMILIES if engine.startswith(name)), "other")


def cases(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Group rows: (bench, case, threads) -> engine -> row; a tier other than the first is named."""
    groups: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in rows:
        group = groups.setdefault((row["bench"], row["case"], row["threads"]), {})
        engine = row["engine"]
        group[f"{engine} ({row['isa']})" if engine in group else engine] = row
    return groups


def _own(group: Mapping[str, Any]) -> Any:
    return next((group[name] for name in OURS if name in group), None)


def latency_figure(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Return, for each case, every engine's time over ours as a dot; float32 is hollow.

    Returns None where no case has both us and somebody else.
    """
    groups = {
        key: group
        for key, group in cases(rows).items()
        if _own(group) is not None and len(group) > 1
    }
    if not groups:
        return None
    shown = dict(list(groups.items())[:MOST_CASES])
    made, axes = theme.figure(theme.WIDE, max(theme.HIGH, min(7.0, 1.05 + 0.28 * len(shown))))
    benches, counts = {bench for bench, _, _ in shown}, {threads for _, _, threads in shown}
    labels, seen = [], set()
    for place, ((bench, case, threads), group) in enumerate(shown.items()):
        ours = _own(group)
        prefix = f"{bench} " if len(benches) > 1 else ""
        suffix = f" T={threads}" if len(counts) > 1 else ""
        labels.append(f"{prefix}{case}{suffix}\n{duration(ours['seconds'])}")
        axes.axhline(place, color=theme.GRID, linewidth=0.7, zorder=0)
        for engine, row in group.items():
            family, hollow = _family(engine), "float32" in engine or "bf16" in engine
            colour = theme.SERIES[min(_index(family), len(theme.SERIES) - 1)]
            big = row is ours
            axes.plot(
                row["seconds"] / ours["seconds"],
                place,
                "D" if big else "o",
                markersize=7 if big else 5.5,
                color=colour,
                markerfacecolor="none" if hollow else colour,
                markeredgewidth=1.3,
                zorder=4 if big else 3,
            )
            seen.add(family)
    axes.set_xscale("log")
    axes.axvline(1, color=theme.SERIES[0], linewidth=1)
    theme.plain_log_ticks(axes.xaxis, "×")
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("time ÷ octavo's, log")
    _family_legend(axes, seen)
    return made


def _index(family: str) -> int:
    return _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)


def _family_legend(axes: Any, seen: set[str]) -> None:
    from matplotlib.lines import Line2D

    ordered = sorted(seen, key=_index)
    handles = [
        Line2D([], [], linestyle="", marker="o", color=theme.SERIES[_index(name)], label=name)
        for name in ordered
    ]
    for kind, fill in (("int8", theme.MUTED), ("float", "none")):
        look: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": fill}
        handles.append(Line2D([], [], color=theme.MUTED, label=kind, **look))
    axes.figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(5, len(handles)),
        handletextpad=0.1,
        columnspacing=0.9,
    )


def roofline_figure(
    rows: Iterable[Mapping[str, Any]], rooflines: Sequence[Mapping[str, Any]]
) -> Any:
    """Return the machine's limits and our measured points under them; None without points."""
    points = [row for row in rows if row["engine"] in OURS and row["ops"] and row["nbytes"]]
    points = [row for row in points if row["bench"] != "quantize"]
    if not points or not rooflines:
        return None
    made, axes = theme.figure(theme.WIDE, theme.HIGH)
    intensity = [row["ops"] / row["nbytes"] for row in points]
    left, right = min(intensity) / 2, max(*intensity, 1.0) * 3
    for index, roof in enumerate(rooflines):
        colour = theme.SERIES[index % len(theme.SERIES)]
        dot, read = roof["dot_gops"], roof["read_gbs"]
        ridge = dot / read
        xs = [left, min(max(ridge, left), right), max(right, ridge * 2)]
        axes.plot(
            xs,
            [min(dot, read * x) for x in xs],
            color=colour,
            linewidth=1.4,
            label=f"T={roof['threads']}: {dot:.0f} GOP/s, {read:.0f} GB/s read",
        )
        mine = [row for row in points if row["threads"] == roof["threads"]]
        for bench, marker in (("linear", "o"), ("model", "s")):
            some = [row for row in mine if row["bench"] == bench]
            axes.plot(
                [row["ops"] / row["nbytes"] for row in some],
                [row["ops"] / row["seconds"] / 1e9 for row in some],
                marker,
                color=colour,
                markersize=5.5,
                alpha=0.85,
                label=f"{bench}, T={roof['threads']}" if some else None,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    theme.plain_log_ticks(axes.xaxis)
    theme.plain_log_ticks(axes.yaxis)
    axes.set_xlabel("operations a byte (log)")
    axes.set_ylabel("GOP/s (log)")
    axes.legend(loc="lower right")
    return made


def save_latency(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw :func:`latency_figure` into a ``.png`` or ``.svg`` file, whole or not at all."""
    kind = Path(path).suffix.removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"path: expected FILE.png or FILE.svg, got {str(path)!r}")
    with theme.style():
        made = latency_figure(rows)
        if made is None:
            raise ValueError("nothing to draw: no case has octavo and another engine")
        stream = io.BytesIO()
        theme.save(made, stream, kind, background=theme.PAPER)
    write_bytes(path, stream.getvalue())
