# SPDX-License-Identifier: Apache-2.0
"""What a model sees of a text that is longer than its context."""

from __future__ import annotations

from typing import NamedTuple


class ContextWindow(NamedTuple):
    """The first tokens, and the last ones from a place that moves on by half of what is left.

    What is seen depends on the length of the text alone: not on how it was cut into calls.

    Attributes
    ----------
    positions : int
        Tokens that the model can read.
    kept : int or None
        How many of the first tokens stay; None: longer texts are not seen at all.
    """

    positions: int
    kept: int | None

    def dropped(self, tokens: int) -> int:
        """Return how many tokens, those behind the first ones, are left out of so many."""
        if self.kept is None or tokens <= self.positions:
            return 0
        half = max(1, (self.positions - self.kept) // 2)
        return -(-(tokens - self.positions) // half) * half

    def seen(self, ids: list[int], dropped: int, start: int = 0) -> list[int]:
        """Return what is seen of a text without so many tokens, from the one at `start` on."""
        if not dropped or self.kept is None:
            return ids[start:]
        return ids[start : self.kept] + ids[max(start, self.kept) + dropped :]
