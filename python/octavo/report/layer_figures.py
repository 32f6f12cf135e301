# SPDX-License-Identifier: Apache-2.0
"""The plots of a model's layers: what takes the bytes, what is lost, what goes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from octavo.report import theme
from octavo.report.facts import LayerFacts, split_name

MOST_BLOCKS = 28
_GAP = 0.5
_CROWD = 80
"""More layers than this get thinner lines."""

_OUTLIERS = 8
"""Inputs that reach so many times beyond 99.8% of themselves need a logarithmic axis."""


def size_figure(layers: Sequence[LayerFacts]) -> Any:
    """Return bars of the bytes of each block, in float32 and as stored."""
    blocks: dict[str, list[int]] = {}
    for layer in layers:
        pair = blocks.setdefault(split_name(layer.name)[0], [0, 0])
        pair[0] += layer.float_bytes
        pair[1] += layer.nbytes
    if len(blocks) > MOST_BLOCKS:
        ranked = sorted(blocks, key=lambda name: -blocks[name][0])
        rest = ranked[MOST_BLOCKS - 1 :]
        kept = {name: pair for name, pair in blocks.items() if name not in rest}
        others = [sum(blocks[name][side] for name in rest) for side in (0, 1)]
        blocks = {**kept, f"{len(rest)} others": others}
    made, axes = theme.figure(theme.WIDE, max(theme.HIGH, min(7.0, 0.7 + 0.27 * len(blocks))))
    places = range(len(blocks))
    floats = [pair[0] / 1e6 for pair in blocks.values()]
    codes = [pair[1] / 1e6 for pair in blocks.values()]
    axes.barh(places, floats, 0.72, color=theme.GRID, label="float32")
    axes.barh(places, codes, 0.36, color=theme.SERIES[0], label="as stored")
    for place, (before, after) in enumerate(zip(floats, codes, strict=True)):
        axes.annotate(
            f"{_megabytes(before)} → {_megabytes(after)}",
            (before, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=theme.MUTED,
        )
    axes.set_yticks(places, [_short(name) for name in blocks])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.33 * max(floats))
    axes.set_xlabel("MB")
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower right")
    return made


def _megabytes(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _short(name: str) -> str:
    """Shorten a block's name: what tells blocks apart is their number."""
    parts = name.split(".")
    if parts[-1].isdigit():
        return f"block {parts[-1]}"
    return name if len(name) <= 24 else f"…{name[-23:]}"


def _ordered(layers: Iterable[LayerFacts]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return a place for each layer, with gaps between blocks, and the ticks of the blocks."""
    places: list[float] = []
    ticks: dict[str, list[float]] = {}
    place, before = 0.0, None
    for layer in layers:
        block = split_name(layer.name)[0]
        place += 0 if before is None else 1 + _GAP * (block != before)
        before = block
        places.append(place)
        ticks.setdefault(block, []).append(place)
    return places, [(sum(at) / len(at), name) for name, at in ticks.items()]


def _block_ticks(axes: Any, ticks: Sequence[tuple[float, str]]) -> None:
    shown = ticks[:: max(1, -(-len(ticks) // 14))]
    labels = [_short(name) for _, name in shown]
    if len(shown) > 4:
        labels = [label.removeprefix("block ") for label in labels]
    slanted = len(labels) > 9 and max(map(len, labels)) > 5
    axes.set_xticks(
        [place for place, _ in shown],
        labels,
        rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
    )
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("layers in the model's order, by block")


def _roles(layers: Iterable[LayerFacts]) -> dict[str, str]:
    """Return a colour for each part that blocks have; rare parts share the last colour."""
    counts: dict[str, int] = {}
    for layer in layers:
        role = split_name(layer.name)[1]
        counts[role] = counts.get(role, 0) + 1
    common = [role for role, count in counts.items() if count > 1][: len(theme.SERIES) - 1]
    colours = dict(zip(common, theme.SERIES, strict=False))
    return {role: colours.get(role, theme.SERIES[-1]) for role in counts}


def _role_legend(axes: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    named = {role: colour for role, colour in colours.items() if colour != theme.SERIES[-1]}
    if len(named) < len(colours):
        named["others"] = theme.SERIES[-1]
    handles = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=role[-24:])
        for role, colour in named.items()
    ]
    axes.figure.legend(
        handles=handles, loc="outside upper center", ncols=3, handletextpad=0.1, columnspacing=0.9
    )


def _layer_axes(layers: Sequence[LayerFacts], label: str) -> tuple[Any, list[float], list[str]]:
    """Return axes with a place for each layer, coloured by its part in a block; and the colours."""
    _, axes = theme.figure(theme.WIDE, theme.HIGH)
    colours = _roles(layers)
    places, ticks = _ordered(layers)
    _block_ticks(axes, ticks)
    _role_legend(axes, colours)
    axes.set_ylabel(label)
    return axes, places, [colours[split_name(layer.name)[1]] for layer in layers]


def _stems(axes: Any, places: list[float], heights: list[float], colours: list[str]) -> None:
    axes.vlines(places, 0, heights, colors=theme.GRID, linewidth=1, zorder=0)
    axes.scatter(places, heights, s=25, c=colours)
    axes.set_ylim(bottom=0)


def error_figure(layers: Sequence[LayerFacts]) -> Any:
    """Return the relative error of each layer alone; None where it was not measured."""
    shown = [layer for layer in layers if layer.relative is not None]
    if not shown:
        return None
    axes, places, each = _layer_axes(shown, "relative error, %")
    _stems(axes, places, [100 * (layer.relative or 0.0) for layer in shown], each)
    return axes.figure


def saturation_figure(layers: Sequence[LayerFacts]) -> Any:
    """Return the share of weights at the end of their codes, and of clipped static inputs.

    None where no layer is int8.
    """
    shown = [layer for layer in layers if layer.full_weights is not None]
    if not shown:
        return None
    axes, places, each = _layer_axes(shown, "saturated, %")
    _stems(axes, places, [100 * (layer.full_weights or 0.0) for layer in shown], each)
    static = [
        (place, 100 * layer.clipped_inputs, colour)
        for place, layer, colour in zip(places, shown, each, strict=True)
        if layer.clipped_inputs is not None
    ]
    if static:
        xs, ys, edges = zip(*static, strict=True)
        axes.scatter(xs, ys, s=28, marker="s", facecolors="none", edgecolors=edges)
        axes.set_ylim(bottom=0)
    return axes.figure


def activation_figure(layers: Sequence[LayerFacts]) -> Any:
    """Return the range of each linear layer's input: all values, and 99.8% of them."""
    shown = [layer for layer in layers if layer.inputs is not None]
    if not shown:
        return None
    axes, places, each = _layer_axes(shown, "input value (thick: 99.8%)")
    ranges = [layer.inputs for layer in shown if layer.inputs is not None]
    lows, highs = [r.low for r in ranges], [r.high for r in ranges]
    axes.vlines(places, lows, highs, colors=each, linewidth=1, alpha=0.6)
    axes.vlines(
        places,
        [r.inner_low for r in ranges],
        [r.inner_high for r in ranges],
        colors=each,
        linewidth=3.4 if len(shown) < _CROWD else 1.5,
    )
    outer = max(max(-r.low, r.high) for r in ranges)
    inner = max(max(-r.inner_low, r.inner_high) for r in ranges)
    if outer > _OUTLIERS * inner:
        axes.set_yscale("symlog", linthresh=inner)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.axhline(0, color=theme.MUTED, linewidth=0.7)
    return axes.figure
