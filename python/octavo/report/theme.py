# SPDX-License-Identifier: Apache-2.0
"""Colours of the plots, and SVG that belongs in a page: no links, colours by the page's theme."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WIDE, HIGH = 4.9, 3.1
"""Inches of a usual plot."""

# Each colour appears once, so that its place in a page can be taken by the theme's own.
INK, MUTED, GRID, PAPER = "#1b2430", "#5c6878", "#d9dfe7", "#fdfefe"
SERIES = (
    "#0b66c3",
    "#c2540a",
    "#1a7f4b",
    "#8a3fa8",
    "#b3261e",
    "#0f7f8c",
    "#8a6d00",
    "#64707f",
)
"""The first is octavo's."""

VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    **{colour: f"c{index}" for index, colour in enumerate(SERIES)},
}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "octavo",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
}


def require_matplotlib() -> Any:
    """Return the matplotlib module."""
    try:
        import matplotlib.figure
    except ImportError:
        raise ModuleNotFoundError(
            'plots need the package matplotlib: pip install "octavo[report]"'
        ) from None
    return matplotlib


@contextmanager
def style() -> Iterator[None]:
    """Make plots in this module's style; drawing and saving both belong inside."""
    with require_matplotlib().rc_context(_STYLE):
        yield


def figure(width: float, height: float) -> tuple[Any, Any]:
    """Return an empty figure of that size in inches, and its one pair of axes."""
    made = require_matplotlib().figure.Figure(figsize=(width, height))
    return made, made.add_subplot()


def plain_log_ticks(axis: Any, unit: str = "") -> None:
    """Write the ticks of a logarithmic axis as plain numbers, not as powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    subs = (1.0,) if math.log10(high / low) > 2.5 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{unit}"))
    axis.set_minor_formatter(NullFormatter())


def save(made: Any, stream: Any, kind: str, background: str = "none") -> None:
    """Write a figure as "svg" or "png"; the same figure gives the same bytes."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    made.savefig(stream, format=kind, dpi=160, facecolor=background, metadata=metadata)


def inline_svg(made: Any, name: str, label: str) -> str:
    """Return a figure as SVG to be put into HTML.

    `name` goes before every id, so that several plots can share a page; `label`, already escaped,
    is what a screen reader says.
    """
    stream = io.StringIO()
    save(made, stream, "svg")
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;]*;", "", text)
    text = re.sub(r'"font: ([\d.]+px)[^;"]*', r'"font-size: \1', text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    # In HTML an svg needs no namespaces, which look like addresses.
    head = f'<svg {box[0]} role="img" aria-label="{label}" id="{name}">'
    return head + text[text.index(">") + 1 :].replace("\n", " ").replace("  ", " ")
