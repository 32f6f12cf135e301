# SPDX-License-Identifier: Apache-2.0
"""Draw the picture of the first page: one model in float32 and in int8, as it was measured.

``python bench/texts.py TEXTS --json docs/figures/minilm.json`` measures, and
``python tools/picture.py`` makes ``minilm.svg`` beside it, in colors for light and dark pages.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
PEER, FLOAT, INT8 = "sentence-transformers", "octavo float32", "octavo int8"

WIDTH, HEIGHT = 760, 350
LEFT, BAR_LEFT, BAR_RIGHT = 16, 236, 660
BAR, STEP, GAP = 20, 28, 36
OURS, OTHERS, INK, FAINT = "#e8704a", "#8f9bab", "#7f8894", "#7f889455"
LOWEST = 0.99


def text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> str:
    """Write a line."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" {style}>{escape(content)}</text>'


def title(y: float, content: str, beside: str) -> list[str]:
    """Name a part of the picture."""
    return [
        text(LEFT, y, content, 'class="title"'),
        text(BAR_LEFT, y, beside),
    ]


def bars(y: float, rows: list[tuple[str, float, str]]) -> list[str]:
    """Draw values as bars, the largest as long as there is room; the last one is ours."""
    largest = max(value for _, value, _ in rows)
    found = []
    for index, (name, value, label) in enumerate(rows):
        top, width = y + STEP * index, (BAR_RIGHT - BAR_LEFT) * value / largest
        color = OURS if index == len(rows) - 1 else OTHERS
        found += [
            text(BAR_LEFT - 10, top + 15, name, anchor="end"),
            f'<rect x="{BAR_LEFT}" y="{top:g}" width="{width:.1f}" height="{BAR}" rx="3" '
            f'fill="{color}"/>',
            text(BAR_LEFT + width + 8, top + 15, label, 'class="value"'),
        ]
    return found


def strip(y: float, values: list[float]) -> list[str]:
    """Draw a stroke for each value between `LOWEST` and 1."""

    def place(value: float) -> float:
        return BAR_LEFT + (BAR_RIGHT - BAR_LEFT) * (max(value, LOWEST) - LOWEST) / (1 - LOWEST)

    strokes = "".join(f"M{place(value):.1f} {y}v{BAR}" for value in values)
    return [
        f'<path d="M{BAR_LEFT} {y + BAR + 3}H{BAR_RIGHT}" stroke="{FAINT}"/>',
        f'<path d="{strokes}" stroke="{OURS}" stroke-opacity=".35"/>',
        text(BAR_LEFT - 10, y + 15, "int8 to float32", anchor="end"),
        text(BAR_RIGHT + 8, y + 15, f"{sum(values) / len(values):.4f}", 'class="value"'),
        *(text(place(at), y + BAR + 18, f"{at:g}", anchor="middle") for at in (LOWEST, 0.995, 1)),
    ]


def picture(measured: dict[str, Any]) -> str:
    """Return the drawing of what `bench/texts.py` wrote."""
    machine, sizes, count = (measured[key] for key in ("machine", "bytes", "texts"))
    # The fastest round of each: what else the machine does only adds.
    seconds = {name: min(rounds) for name, rounds in measured["seconds"].items()}
    peer = min(value for name, value in seconds.items() if name.startswith(f"{PEER}, batch"))
    times = [(PEER, peer), ("octavo, float32", seconds[FLOAT]), ("octavo, int8", seconds[INT8])]
    y = 28
    parts = title(y, "Size", "of the file of weights")
    parts += bars(
        y + 12,
        [
            ("float32", sizes[FLOAT], f"{sizes[FLOAT] / 1e6:.1f} MB"),
            ("int8", sizes[INT8], f"{sizes[INT8] / 1e6:.1f} MB"),
        ],
    )
    y += 12 + 2 * STEP + GAP
    parts += title(y, "Time", f"{count} reviews to vectors on one thread, fastest round")
    parts += bars(y + 12, [(name, value, f"{value:.2f} s") for name, value in times])
    y += 12 + 3 * STEP + GAP
    parts += title(y, "Nearness", f"cosine of each of the {count} vectors, and the mean")
    parts += strip(y + 12, measured["cosines"])
    said = f"all-MiniLM-L6-v2 on {machine['cpu']}, {machine['tier']}"
    parts.append(text(LEFT, HEIGHT - 8, f"{said}; bench/texts.py measured it", 'class="small"'))
    style = (
        f"text{{font:13px system-ui,-apple-system,Helvetica,Arial,sans-serif;fill:{INK}}}"
        ".title{font-size:15px;font-weight:700}.value{font-weight:700}.small{font-size:11px}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img">',
            f"<style>{style}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def main() -> int:
    """Draw it again."""
    measured = json.loads((FIGURES / "minilm.json").read_text(encoding="utf-8"))
    (FIGURES / "minilm.svg").write_text(picture(measured), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
