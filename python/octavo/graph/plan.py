# SPDX-License-Identifier: Apache-2.0
"""Where in one arena each buffer lies, so that those live at once are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from octavo._types import Int64

ALIGNMENT = 64


class Life(NamedTuple):
    """How large a buffer is, and the first and the last step at which it holds something."""

    nbytes: int
    first: int
    last: int


def plan(lives: Sequence[Life]) -> tuple[Int64, int]:
    """Return the offset of each buffer and the size of the arena, both multiples of 64 bytes.

    The largest come first, each at the lowest place that is free while it lives.
    """
    sizes = np.array([-(-max(life.nbytes, 1) // ALIGNMENT) * ALIGNMENT for life in lives], np.int64)
    first = np.array([life.first for life in lives], np.int64)
    last = np.array([life.last for life in lives], np.int64)
    offsets = np.zeros(len(lives), np.int64)
    placed = np.zeros(len(lives), np.int64)
    order = np.lexsort((first, -sizes))
    for count, one in enumerate(order):
        others = placed[:count]
        others = others[(first[others] <= last[one]) & (last[others] >= first[one])]
        others = others[np.argsort(offsets[others], kind="stable")]
        # The room before each of them begins where those before it end.
        ends = np.maximum.accumulate(np.append(0, offsets[others] + sizes[others]))
        free = np.append(offsets[others] - ends[:-1] >= sizes[one], True)
        offsets[one] = ends[np.argmax(free)]
        placed[count] = one
    return offsets, int((offsets + sizes).max(initial=0))
