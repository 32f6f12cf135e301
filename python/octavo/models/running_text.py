# SPDX-License-Identifier: Apache-2.0
"""Text of tokens that come one by one: whole characters, up to a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"
"""What stands for bytes that are no whole character."""


class RunningText:
    """What tokens say so far.

    Parameters
    ----------
    decode : callable
        The text of tokens.
    stops : sequence of str
        Strings at which the text ends, which may begin and end within tokens.

    Attributes
    ----------
    text : str
        All of it, up to a stop string.
    stopped : bool
        Whether there was one.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode, self._stops = decode, stops
        self._ids: list[int] = []
        # Tokens up to `_read` are in the text; those from `_begin` on tell how the next begins.
        self._begin = self._read = 0
        self._told = 0
        self.text = ""
        self.stopped = False

    def add(self, token: int) -> None:
        """Take another token."""
        self._ids.append(token)
        self._extend(is_last=False)

    def finish(self) -> None:
        """Take what was held back of an unfinished character."""
        if not self.stopped:
            self._extend(is_last=True)

    def news(self, is_last: bool = False) -> str:
        """Return what is new since the last call, but for what a stop string may begin with."""
        end = len(self.text)
        if not (is_last or self.stopped):
            end -= self._held_back()
        piece = self.text[self._told : end]
        self._told = max(self._told, end)
        return piece

    def _extend(self, is_last: bool) -> None:
        before = self._decode(self._ids[self._begin : self._read])
        now = self._decode(self._ids[self._begin :])
        if len(now) <= len(before) or (now.endswith(_UNFINISHED) and not is_last):
            return
        self._begin, self._read = self._read, len(self._ids)
        seen = len(self.text)
        self.text += now[len(before) :]
        longest = max(map(len, self._stops), default=1)
        start = max(0, seen - longest + 1)
        found = [at for stop in self._stops if (at := self.text.find(stop, start)) >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True

    def _held_back(self) -> int:
        """Return how long the end is that a stop string begins with."""
        longest = min(len(self.text), max(map(len, self._stops), default=1) - 1)
        lengths = range(longest, 0, -1)
        ends = (n for n in lengths if any(s.startswith(self.text[-n:]) for s in self._stops))
        return next(ends, 0)
