# SPDX-License-Identifier: Apache-2.0
"""Small files of ``/sys`` and ``/proc``: read if they are there, and never trusted."""

from __future__ import annotations

import re
from pathlib import Path

_MOST_BYTES = 1 << 20
_MOST_CPUS = 4096
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]{1,16}|[0-9]{1,18})")


def parse_cpus(text: str) -> tuple[int, ...] | None:
    """Return the CPUs of a list such as ``"0-3,6"``, rising; None for anything else.

    Examples
    --------
    >>> parse_cpus("4-5,0"), parse_cpus("5-4"), parse_cpus("")
    ((0, 4, 5), None, None)
    """
    found: set[int] = set()
    for part in text.strip().split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            return None
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first or last >= _MOST_CPUS:
            return None
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def format_cpus(cpus: tuple[int, ...]) -> str:
    """Return a list of CPUs as text; the reverse of `parse_cpus`.

    Examples
    --------
    >>> format_cpus((0, 1, 2, 6))
    '0-2,6'
    """
    parts: list[list[int]] = []
    for cpu in cpus:
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1][1:] = [cpu]
        else:
            parts.append([cpu])
    return ",".join("-".join(map(str, part)) for part in parts)


class SystemFiles:
    """The files that a system describes itself by, below `root`, which tests put elsewhere."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder, readable or not."""
        try:
            return (self._root / path).exists()
        except OSError:
            return False

    def text(self, path: str) -> str | None:
        """Return what a file says; None if it is missing, not to be read, or empty."""
        try:
            with (self._root / path).open("rb") as file:
                content = file.read(_MOST_BYTES)
        except OSError:
            return None
        return content.decode("utf-8", "replace").strip("\0 \t\r\n") or None

    def number(self, path: str) -> int | None:
        """Return the integer, decimal or 0x..., that is all that a file says."""
        text = self.text(path)
        if text is None or _NUMBER.fullmatch(text) is None:
            return None
        return int(text, 16 if "x" in text else 10)

    def cpus(self, path: str) -> tuple[int, ...] | None:
        """Return the list of CPUs that is all that a file says."""
        text = self.text(path)
        return None if text is None else parse_cpus(text)

    def folders(self, path: str, pattern: str) -> list[str]:
        """Return what lies in a folder under names of that pattern, in the order of names."""
        try:
            found = sorted((self._root / path).glob(pattern), key=_natural)
        except OSError:
            return []
        return [one.relative_to(self._root).as_posix() for one in found]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort ``zone2`` before ``zone10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]
