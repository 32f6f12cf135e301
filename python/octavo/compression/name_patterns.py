# SPDX-License-Identifier: Apache-2.0
"""Layer names that a recipe lists, and whether each of them was met."""

from __future__ import annotations

from fnmatch import fnmatchcase

from octavo._text import shown


class NamePatterns:
    """Names and patterns (``*``) of one field of a recipe; messages say what they should name."""

    def __init__(self, patterns: tuple[str, ...], field: str, kind: str) -> None:
        self._patterns = patterns
        self._unmet = dict.fromkeys(patterns)
        self._field, self._kind = field, kind

    def __contains__(self, name: str) -> bool:
        met = [pattern for pattern in self._patterns if fnmatchcase(name, pattern)]
        for pattern in met:
            self._unmet.pop(pattern, None)
        return bool(met)

    def check(self) -> None:
        """Raise if one of them was never met."""
        if self._unmet:
            raise ValueError(
                f"recipe: {self._field}: expected names of {self._kind}, got "
                f"{shown(next(iter(self._unmet)))}"
            )
