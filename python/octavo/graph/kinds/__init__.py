# SPDX-License-Identifier: Apache-2.0
"""What is known of each kind of operator: what it takes, the shape of its result, how it runs."""

from __future__ import annotations

from octavo.graph.kinds import blocks, elementwise, moves, reductions, resize, windows
from octavo.graph.kinds.call import Call, Kind, Shape

KINDS: dict[str, Kind] = {
    **elementwise.KINDS,
    **windows.KINDS,
    **moves.KINDS,
    **blocks.KINDS,
    **reductions.KINDS,
    **resize.KINDS,
}

__all__ = ["KINDS", "Call", "Kind", "Shape"]
