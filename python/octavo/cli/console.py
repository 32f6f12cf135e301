# SPDX-License-Identifier: Apache-2.0
"""What the commands write: text, JSON, colours where they are wanted, one line of progress."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_STYLES = {"bold": "1", "bad": "1;31"}
_NARROW = 40
"""Below this many columns a label gets a line of its own."""

_FIRST_GUESS_SECONDS = 0.5
"""A guess of the time left from less than this would jump."""


def colours(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not switched colours off."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return `text` in a style ("bold", "bad"), as it is where colours are off.

    Examples
    --------
    >>> import io
    >>> paint("no such folder", "bad", io.StringIO())
    'no such folder'
    """
    if not colours(sys.stdout if stream is None else stream):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def width(stream: TextIO) -> int | None:
    """Return the columns of the terminal behind `stream`, None where there is none."""
    if not stream.isatty():
        return None
    try:
        return max(1, os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):
        return 80


@contextmanager
def escaping() -> Iterator[None]:
    """Let what the console's encoding lacks, in a name say, be written as escapes.

    It would stop a command on its last line otherwise, with the work done.
    """
    streams = [one for one in (sys.stdout, sys.stderr) if isinstance(one, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


def put(text: str = "", stream: TextIO | None = None) -> None:
    """Write a line at once, to standard output by default."""
    target = sys.stdout if stream is None else stream
    target.write(text + "\n")
    target.flush()


def put_json(result: Any) -> None:
    """Write `result` to standard output as JSON."""
    put(json.dumps(result, indent=2))


def save_json(path: Path, result: Any) -> None:
    """Write `result` as JSON to `path`, or to standard output where that is "-"."""
    from octavo.bench.files import write_text

    if str(path) == "-":
        put_json(result)
    else:
        write_text(path, json.dumps(result, indent=1) + "\n")


def pairs(rows: Sequence[tuple[str, str]], columns: int | None) -> str:
    """Lay out labels and values, wrapped to `columns` where they are given.

    Examples
    --------
    >>> print(pairs([("cpu", "a fast one"), ("threads", "2")], None))
    cpu      a fast one
    threads  2
    >>> print(pairs([("cpu", "a fast one")], 8))
    cpu
      a fast
      one
    """
    indent = max(len(label) for label, _ in rows) + 2
    lines = []
    for label, value in rows:
        shown = paint(label, "bold")
        if columns is None:
            lines.append(f"{shown}{' ' * (indent - len(label))}{value}")
        elif columns < _NARROW:
            wrapped = textwrap.wrap(value, max(1, columns - 2), break_on_hyphens=False) or [""]
            lines += [shown, *(f"  {part}" for part in wrapped)]
        else:
            wrapped = textwrap.wrap(value, columns - indent, break_on_hyphens=False) or [""]
            lines.append(f"{shown}{' ' * (indent - len(label))}{wrapped[0]}")
            lines += [" " * indent + part for part in wrapped[1:]]
    return "\n".join(lines)


def time_left(elapsed: float, done: float) -> str:
    """Return the time left as text, "" while there is too little to guess from."""
    if elapsed < _FIRST_GUESS_SECONDS or not 0 < done <= 1:
        return ""
    minutes, seconds = divmod(round(elapsed * (1 - done) / done), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{clock} left"


class Progress:
    """One line on stderr that is rewritten; nothing at all unless stderr is a terminal."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._clock = clock
        self._start = clock()

    def __call__(self, text: str, done: float | None = None) -> None:
        """Show what is going on and, from the share that is done, the time left."""
        if not self._shown:
            return
        if done is not None:
            left = time_left(self._clock() - self._start, done)
            text = "  ".join(part for part in (f"{done:4.0%}", left, text) if part)
        columns = width(self._stream) or 80
        self._stream.write(f"\r\x1b[K{text[: max(1, columns - 1)]}")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be written in its place."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
