# SPDX-License-Identifier: Apache-2.0
"""Which adapter is in use: per model, and per thread or task where somebody says so."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType

import numpy as np

from octavo._types import Int64


class ByRows:
    """Several adapters at once: which rows of what layers read are whose.

    Attributes
    ----------
    rows : dict of str to int64 array
        Of each adapter; those in none are the base's.
    """

    def __init__(self, names: Sequence[str | None], counts: Sequence[int]) -> None:
        owners = np.repeat(np.arange(len(names)), counts)
        self.rows: dict[str, Int64] = {
            name: np.flatnonzero(np.isin(owners, [i for i, of in enumerate(names) if of == name]))
            for name in dict.fromkeys(names)
            if name is not None
        }


Choice = str | ByRows | None
"""An adapter by its name, several, or with None the base alone."""


def choice_of(names: Sequence[str | None], counts: Sequence[int]) -> Choice:
    """Return the choice for sequences that have so many rows each, one below the other."""
    return names[0] if len(set(names)) == 1 else ByRows(names, counts)


class Switch:
    """The choice that all layers of one model follow."""

    def __init__(self) -> None:
        self.default: str | None = None

    def current(self) -> Choice:
        """Return what a call made now uses."""
        return _CHOSEN.get().get(self, self.default)

    def key(self) -> Hashable:
        """Return what a program made of the layers now is good for."""
        choice = self.current()
        return ByRows if isinstance(choice, ByRows) else choice

    @contextlib.contextmanager
    def use(self, choice: Choice) -> Iterator[None]:
        """Use something else in the body, in this thread or task alone."""
        token = _CHOSEN.set({**_CHOSEN.get(), self: choice})
        try:
            yield
        finally:
            _CHOSEN.reset(token)


_NONE: Mapping[Switch, Choice] = MappingProxyType({})
_CHOSEN: ContextVar[Mapping[Switch, Choice]] = ContextVar("octavo.lora", default=_NONE)
