# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page that fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from octavo.report.style import STYLE

# Nothing may be loaded, from anywhere; style and pictures are in the page itself.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MOST_ROWS = 600
"""Rows of a table; more would make the page heavy without being read."""


@dataclass(frozen=True)
class Card:
    """A figure in large letters."""

    title: str
    value: str
    text: str


@dataclass(frozen=True)
class Plot:
    """A plot as SVG (made by `theme.inline_svg`), or what to do to get it."""

    title: str
    caption: str
    svg: str | None
    missing: str = ""


@dataclass(frozen=True)
class Table:
    """A table under a title.

    `text` is how many of its first columns are words, `most` how many rows are shown.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1
    most: int = MOST_ROWS


def render(
    title: str,
    subtitle: str,
    cards: Sequence[Card],
    plots: Sequence[Plot],
    beside: Table | None,
    tables: Sequence[Table],
) -> str:
    """Return the page; all texts are escaped here, the SVG of a plot is taken as it is.

    `beside` is shown among the plots, `tables` below them, folded.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>
<section class="cards" aria-label="Summary">{"".join(map(_card, cards))}</section>
<section class="plots" aria-label="Plots">{"".join(map(_plot, plots))}{_beside(beside)}</section>
{"".join(map(_table, tables))}
</main>
</body>
</html>
"""


def _card(card: Card) -> str:
    return (
        f'<div class="card"><h2>{escape(card.title)}</h2><strong>{escape(card.value)}</strong>'
        f"<p>{escape(card.text)}</p></div>\n"
    )


def _plot(plot: Plot) -> str:
    body = plot.svg or f'<p class="empty">{escape(plot.missing)}</p>'
    return (
        f"<figure><figcaption><b>{escape(plot.title)}</b>{escape(plot.caption)}</figcaption>"
        f"{body}</figure>\n"
    )


def _beside(table: Table | None) -> str:
    if table is None:
        return ""
    return f"<figure><figcaption><b>{escape(table.title)}</b></figcaption>{_rows(table)}</figure>\n"


def _table(table: Table) -> str:
    return f"<details><summary>{escape(table.title)}</summary>{_rows(table)}</details>\n"


def _rows(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        parts = []
        for index, cell in enumerate(cells):
            kind = ' class="text"' if index < table.text else ""
            scope = ' scope="col"' if tag == "th" else ""
            parts.append(f"<{tag}{kind}{scope}>{escape(cell)}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>\n"

    shown = table.rows[: table.most]
    left = len(table.rows) - len(shown)
    note = f"<p>{left} more rows are left out.</p>" if left else ""
    return (
        f"<div class='scroll'><table><thead>{row(table.header, 'th')}</thead>"
        f"<tbody>{''.join(row(cells, 'td') for cells in shown)}</tbody></table></div>{note}"
    )
