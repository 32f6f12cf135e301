# SPDX-License-Identifier: Apache-2.0
"""Which adapter is in use: per model, and per thread or task where somebody says so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType


class Switch:
    """The choice that all layers of one model follow; None is the base alone."""

    def __init__(self) -> None:
        self.default: str | None = None

    def current(self) -> str | None:
        """Return the adapter that a call made now uses."""
        return _CHOSEN.get().get(self, self.default)

    @contextlib.contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        """Use another adapter in the body, in this thread or task alone."""
        token = _CHOSEN.set({**_CHOSEN.get(), self: name})
        try:
            yield
        finally:
            _CHOSEN.reset(token)


_NONE: Mapping[Switch, str | None] = MappingProxyType({})
_CHOSEN: ContextVar[Mapping[Switch, str | None]] = ContextVar("octavo.lora", default=_NONE)
