# SPDX-License-Identifier: Apache-2.0
"""The plot of a device file: memory by level, and how near its limit each kernel comes."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octavo.bench.files import write_bytes
from octavo.report import theme

_WIDE, _HIGH = 9.2, 4.6
_LEVELS = ("L1", "L2", "L3", "L4", "DRAM")


def save_device(document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw a device file into a ``.png`` or ``.svg`` file, whole or not at all."""
    kind = Path(path).suffix.removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"path: expected FILE.png or FILE.svg, got {str(path)!r}")
    with theme.style():
        made = theme.require_matplotlib().figure.Figure(figsize=(_WIDE, _HIGH))
        memory, kernels = made.subplots(1, 2, width_ratios=(1, 1.15))
        _draw_memory(memory, document)
        _draw_kernels(kernels, document)
        _legend(made, document)
        stream = io.BytesIO()
        theme.save(made, stream, kind, background=theme.PAPER)
    write_bytes(path, stream.getvalue())


def _colour(cluster: int) -> str:
    return theme.SERIES[cluster % len(theme.SERIES)]


def _groups(document: Mapping[str, Any], kind: str) -> dict[tuple[int, bool], list[Any]]:
    """Return the results of a kind by cluster, and by whether more than one thread ran."""
    found: dict[tuple[int, bool], list[Any]] = {}
    for result in document["results"]:
        if result["kind"] == kind:
            found.setdefault((result["cluster"], result["threads"] > 1), []).append(result)
    return found


def _draw_memory(axes: Any, document: Mapping[str, Any]) -> None:
    seen = {one["case"] for one in document["results"] if one["kind"] in ("read", "copy")}
    levels = [level for level in _LEVELS if level in seen]
    for kind, dashes in (("read", "-"), ("copy", ":")):
        for (cluster, several), results in _groups(document, kind).items():
            known = [one for one in results if one["case"] in levels]
            axes.plot(
                [levels.index(one["case"]) for one in known],
                [one["value"] for one in known],
                dashes,
                color=_colour(cluster),
                marker="o",
                markersize=5,
                markerfacecolor=_colour(cluster) if several else theme.PAPER,
                linewidth=1.3,
            )
    axes.set_yscale("log")
    theme.plain_log_ticks(axes.yaxis)
    axes.set_xticks(range(len(levels)), levels)
    axes.set_ylabel("GB/s (log)")
    axes.set_title("memory: read —, copy ···")


def _draw_kernels(axes: Any, document: Mapping[str, Any]) -> None:
    groups = {**_groups(document, "kernel")}
    for key, results in _groups(document, "model").items():
        groups[key] = [*groups.get(key, []), *results]
    cases = list(
        dict.fromkeys(
            one["case"]
            for results in groups.values()
            for one in results
            if one["share"] is not None
        )
    )
    for (cluster, several), results in groups.items():
        known = [one for one in results if one["share"] is not None]
        axes.plot(
            [100 * one["share"] for one in known],
            [cases.index(one["case"]) for one in known],
            "o",
            color=_colour(cluster),
            markersize=6,
            markerfacecolor=_colour(cluster) if several else "none",
            markeredgewidth=1.3,
        )
    axes.axvline(100, color=theme.MUTED, linewidth=1)
    axes.set_xlim(left=0)
    axes.set_yticks(range(len(cases)), cases, fontsize=8)
    if cases:
        axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_xlabel("% of the measured limit")
    axes.set_title("kernels")


def _legend(made: Any, document: Mapping[str, Any]) -> None:
    """Name each cluster with its peak; hollow is one thread."""
    from matplotlib.lines import Line2D

    peaks = {key: results[0]["value"] for key, results in _groups(document, "dot_peak").items()}
    handles = []
    for index, cluster in enumerate(document["clusters"]):
        found = [peaks[key] for key in ((index, False), (index, True)) if key in peaks]
        label = cluster["name"]
        if found:
            label += f": {' / '.join(f'{peak:.0f}' for peak in found)} GOP/s"
        handles.append(Line2D([], [], linestyle="", marker="o", color=_colour(index), label=label))
    for label, fill in (("1 thread", "none"), ("all", theme.MUTED)):
        look: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": fill}
        handles.append(Line2D([], [], color=theme.MUTED, label=label, **look))
    made.legend(handles=handles, loc="outside upper center", ncols=min(5, len(handles)))
