# SPDX-License-Identifier: Apache-2.0
"""Text: bytes decoded, lines told apart, JSON parsed, values shown in messages, tables."""

from __future__ import annotations

import json
import reprlib
from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import Any

_DEEPEST = 64
_LONGEST = 200

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxfrozenset = 8
_SHORT.maxstring = _SHORT.maxother = 160


def shown(value: object) -> str:
    """Return `repr` of a value for a message, of at most 200 characters.

    Examples
    --------
    >>> from octavo._text import shown
    >>> shown("query"), len(shown(["x" * 1000] * 1000))
    ("'query'", 200)
    """
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python writes no integers of more than some thousand digits
        text = f"a value of type {type(value).__name__} with very many digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def decoded(content: bytes) -> str:
    """Return UTF-8 as text, without a byte order mark.

    Raises
    ------
    ValueError
        At which byte it is something else.
    """
    try:
        return content.removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8, got byte {error.start}") from None


def lines_of(text: str) -> list[str]:
    r"""Split at the ends of lines that editors write, and not at what Unicode calls one as well.

    Examples
    --------
    >>> from octavo._text import lines_of
    >>> lines_of("one\u2028line\r\nand another\n")
    ['one\u2028line', 'and another', '']
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def columns(lines: Sequence[Sequence[str]]) -> str:
    r"""Return lines of cells as a table.

    Examples
    --------
    >>> from octavo._text import columns
    >>> columns([("layer", "kB"), ("a", "4.1")])
    'layer  kB\na      4.1'
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def parsed_json(content: bytes | str) -> Any:
    """Return what JSON says.

    Raises
    ------
    ValueError
        If it is none, or is nested deeper than 64 levels.
    """
    text = content if isinstance(content, str) else decoded(content)
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for one in level for item in _children(one)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"expected at most {_DEEPEST} levels of brackets"


def _children(value: Any) -> list[Any]:
    """Return the lists and objects in a value."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, (dict, list))]
