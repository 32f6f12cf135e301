# SPDX-License-Identifier: Apache-2.0
"""Patterns for names that files bring along: regular expressions, matched in linear time.

Python's own engine goes back and tries again, so a pattern of twenty characters can keep it busy
for ever. Here a part of a pattern maps the set of places in a name where it may begin to the set of
places where it may end, and a set is the bits of an integer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, reduce
from operator import or_
from typing import NoReturn

from octavo._text import shown

_LONGEST = 4096
_DEEPEST = 50
_STEPS_PER_CHARACTER = 64

# What stands for one character, and is Python's to read.
_CHARACTER = re.compile(
    r"""\\(?:[dDwWsS]|[^a-zA-Z0-9])
    | \[\^?(?:\\[dDwWsS]|\\[^a-zA-Z0-9]|(?!--|&&|~~|\|\|)[^\\\[\]])+\]
    | [^\\\[\](){}*+?|^$]""",
    re.VERBOSE | re.DOTALL,
)
_REPEAT = re.compile(r"(?:[*+?]|\{(\d{1,4})(?:(,)(\d{0,4}))?\})\??")
_GROUP = re.compile(r"\((\?P<[^\W\d]\w*>|\?:|\?=|\?!|(?!\?))")
_PLACE = re.compile(r"[\^$]|\\[AZbB]")
_COUNTS = {"*": (0, _LONGEST), "+": (1, _LONGEST), "?": (0, 1)}


class _Name:
    """A name as parts of patterns see it: where each of its characters stands."""

    def __init__(self, text: str, steps: int) -> None:
        self.text = text
        self.steps = steps
        self._places: dict[str, int] = {}
        self._found: dict[re.Pattern[str], int] = {}
        for index, character in enumerate(text):
            self._places[character] = self._places.get(character, 0) | 1 << index

    def where(self, kind: re.Pattern[str]) -> int:
        """Return the places of the characters of a kind."""
        if kind not in self._found:
            places = (bits for character, bits in self._places.items() if kind.match(character))
            self._found[kind] = reduce(or_, places, 0)
        return self._found[kind]


_Part = Callable[[_Name, int], int]


class Pattern:
    """A pattern, as `pattern_of` reads it."""

    def __init__(self, source: str) -> None:
        if len(source) > _LONGEST:
            raise ValueError(
                f"pattern {shown(source)}: expected at most {_LONGEST} characters,"
                f" got {len(source)}"
            )
        self.source = source
        self._part = _Reader(source).whole()

    def match(self, name: str) -> bool:
        """Whether a name begins with what the pattern says, as `re.match` has it.

        Raises
        ------
        ValueError
            If that takes more than a fixed number of steps for each character of pattern and name.
        """
        if len(name) > _LONGEST:
            raise ValueError(
                f"name {shown(name)}: expected at most {_LONGEST} characters, got {len(name)}"
            )
        seen = _Name(name, _STEPS_PER_CHARACTER * (len(self.source) + len(name) + 1))
        try:
            return bool(self._part(seen, 1))
        except _TooLongError:
            raise ValueError(
                f"pattern {shown(self.source)} takes too many steps on the name {shown(name)}:"
                " expected fewer repeats inside repeats"
            ) from None


@lru_cache(maxsize=512)
def pattern_of(source: str) -> Pattern:
    r"""Read a pattern in the syntax of `re`.

    Characters, ``.``, classes, groups, ``|``, repeats, ``^ $ \A \Z \b \B`` and looking ahead
    are read; looking behind, flags and references to groups are not.

    Raises
    ------
    ValueError
        At something else; the message says at which character.

    Examples
    --------
    >>> from octavo._patterns import pattern_of
    >>> pattern_of(r"layer\.(0|1)\..*").match("layer.1.dense")
    True
    """
    return Pattern(source)


class _TooLongError(Exception):
    """A name has taken all the steps it may."""


class _Reader:
    """Makes parts of a pattern's text, from left to right."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._depth = 0

    def whole(self) -> _Part:
        """Read all of it."""
        part = self._choice()
        if self._at < len(self._source):
            self._refuse(")")
        return part

    def _refuse(self, what: str, at: int | None = None) -> NoReturn:
        place = 1 + (self._at if at is None else at)
        raise ValueError(
            f"pattern {shown(self._source)}, character {place}: {shown(what)} is not read here"
        )

    def _next(self, kind: re.Pattern[str]) -> re.Match[str] | None:
        found = kind.match(self._source, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _choice(self) -> _Part:
        """Read alternatives, to the end or to a closing bracket."""
        branches = [self._sequence()]
        while self._source.startswith("|", self._at):
            self._at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _choice(branches)

    def _sequence(self) -> _Part:
        parts = []
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            parts.append(self._item())
        return _sequence(parts)

    def _item(self) -> _Part:
        """Read a place, or a character or group and how often it comes."""
        place = self._next(_PLACE)
        if place is not None:
            return _place(place[0])
        group, kind = self._next(_GROUP), None
        if group is not None:
            part = self._rest_of_group(group)
            if group[1] in ("?=", "?!"):
                return _ahead(part, wanted=group[1] == "?=")
        else:
            kind = self._character()
            part = _character(kind)
        repeat = self._next(_REPEAT)
        return part if repeat is None else self._repeated(part, kind, repeat)

    def _rest_of_group(self, group: re.Match[str]) -> _Part:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse("(" * _DEEPEST)
        part = self._choice()
        if not self._source.startswith(")", self._at):
            self._refuse(group[0], group.start())
        self._at += 1
        self._depth -= 1
        return part

    def _character(self) -> re.Pattern[str]:
        found = self._next(_CHARACTER)
        if found is None:
            self._refuse(self._source[self._at : self._at + 3])
        try:
            return re.compile(found[0])
        except re.error:
            self._refuse(found[0], found.start())

    def _repeated(self, part: _Part, kind: re.Pattern[str] | None, repeat: re.Match[str]) -> _Part:
        if repeat[1] is None:
            least, most = _COUNTS[repeat[0][0]]
        else:
            least = int(repeat[1])
            most = least if repeat[2] is None else int(repeat[3] or _LONGEST)
        if most < least:
            self._refuse(repeat[0], repeat.start())
        if kind is not None and most == _LONGEST:
            return _sequence([*[part] * least, _run(kind)])
        return _repeated(part, least, most)


def _character(kind: re.Pattern[str]) -> _Part:
    return lambda name, at: (at & name.where(kind)) << 1


def _run(kind: re.Pattern[str]) -> _Part:
    """Any number of characters of a kind: a carry goes from where one may begin to the end."""

    def part(name: _Name, at: int) -> int:
        meant = name.where(kind)
        first = at & meant
        return at | ((first + meant) ^ meant) | first

    return part


def _sequence(parts: list[_Part]) -> _Part:
    def part(name: _Name, at: int) -> int:
        name.steps -= 1 + len(parts)
        if name.steps < 0:
            raise _TooLongError
        for one in parts:
            at = at and one(name, at)
        return at

    return part


def _choice(branches: list[_Part]) -> _Part:
    return lambda name, at: reduce(or_, (branch(name, at) for branch in branches))


def _repeated(inner: _Part, least: int, most: int) -> _Part:
    def part(name: _Name, at: int) -> int:
        for _ in range(least):
            at = at and inner(name, at)
        reached = fresh = at
        for _ in range(most - least):
            fresh = fresh and inner(name, fresh) & ~reached
            if not fresh:
                break
            reached |= fresh
        return reached

    return part


def _ahead(inner: _Part, *, wanted: bool) -> _Part:
    def part(name: _Name, at: int) -> int:
        places = (1 << index for index in range(len(name.text) + 1) if at >> index & 1)
        return sum(place for place in places if bool(inner(name, place)) == wanted)

    return part


def _place(source: str) -> _Part:
    kind = re.compile(source)

    def part(name: _Name, at: int) -> int:
        places = (index for index in range(len(name.text) + 1) if at >> index & 1)
        return sum(1 << index for index in places if kind.match(name.text, index))

    return part
