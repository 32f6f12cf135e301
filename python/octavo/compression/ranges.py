# SPDX-License-Identifier: Apache-2.0
"""One observer for each array that layers read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from octavo._types import Float32
from octavo.algorithms.observers import Observer


class InputObservers:
    """Observers of what layers read; layers that read the same array share one, and so a scale.

    ``make(name)`` returns a new observer, the name for its messages; `observers` has those of the
    layers that were reached, by their names.
    """

    def __init__(self, make: Callable[[str], Observer]) -> None:
        self.observers: dict[str, Observer] = {}
        self._make = make
        self._lock = threading.Lock()
        self._last = threading.local()

    def see(
        self, name: str, x: Float32, mask: Any = None, multiplier: Float32 | None = None
    ) -> None:
        """Take in what a layer is about to read: ``x * multiplier``, where `mask` has tokens.

        Whether it is what the layer before has read is told by the identity of `x`.
        """
        last: _Last | None = getattr(self._last, "seen", None)
        # A layer that sees an array again is in another call, with other values in it perhaps.
        same = last is not None and last.is_of(x, multiplier) and name not in last.names
        with self._lock:
            own = self.observers.get(name)
            if own is None:
                own = self._make(f"layer {name!r}: calibration")
                if same and last is not None:
                    own = last.observer
                self.observers[name] = own
            if same and last is not None and own is last.observer:
                last.names.add(name)
                return
            rows = token_rows(x, mask)
            own.update(rows if multiplier is None else rows * multiplier)
        self._last.seen = _Last(x, multiplier, own, {name})

    def forget(self) -> None:
        """Let go of the array that this thread saw last."""
        self._last.seen = None


def token_rows(x: Float32, mask: Any) -> Float32:
    """Return the rows of tokens: of (batch, tokens, K), or of (batch, K) from the first token.

    Other rows are of tokens alone.
    """
    if mask is None or (x.ndim == 2 and len(x) != len(mask)):
        return x
    if x.ndim == 3:
        # Of another shape they are packed, or a slice without padding: see octavo.models.packing.
        return x[mask] if x.shape[:2] == mask.shape else x.reshape(-1, x.shape[-1])
    return x[mask[:, 0]]


@dataclass
class _Last:
    """The array that a thread saw last, who took it in, and which layers have read it."""

    x: Float32
    multiplier: Float32 | None
    observer: Observer
    names: set[str]

    def is_of(self, x: Float32, multiplier: Float32 | None) -> bool:
        if self.x is not x:
            return False
        if self.multiplier is None or multiplier is None:
            return self.multiplier is multiplier
        return np.array_equal(self.multiplier, multiplier)
