# SPDX-License-Identifier: Apache-2.0
"""Columns of fixed widths, so that lines can be printed as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Columns:
    """Title and width of each column; negative widths are set to the left.

    `dropped` is what goes first where a terminal is too narrow for all.

    Examples
    --------
    >>> shape = Columns((("case", -6), ("time", 6), ("band", 8)), dropped=("band",))
    >>> shape.header(14)
    'case      time'
    >>> shape.line(("a", "1 us", "-1% +2%"))
    'a         1 us   -1% +2%'
    """

    titles: tuple[tuple[str, int], ...]
    dropped: tuple[str, ...]

    def header(self, columns: int | None = None) -> str:
        """Return the titles, for a terminal of `columns` if given; "" if even few do not fit."""
        return self.line([title for title, _ in self.titles], columns)

    def line(self, texts: Sequence[str], columns: int | None = None) -> str:
        """Return a text for each column; "" if even few do not fit."""
        parts = []
        for index in self._shown(columns):
            text, width = texts[index], self.titles[index][1]
            parts.append(text.ljust(-width) if width < 0 else text.rjust(width))
        return "  ".join(parts).rstrip()

    def _shown(self, columns: int | None) -> list[int]:
        """Return the indices of the columns that fit, none where even few do not."""
        kept = list(range(len(self.titles)))
        for dropped in (None, *self.dropped):
            kept = [index for index in kept if self.titles[index][0] != dropped]
            needed = sum(abs(self.titles[index][1]) + 2 for index in kept) - 2
            if columns is None or needed <= columns:
                return kept
        return []
