# SPDX-License-Identifier: Apache-2.0
"""An order in which the operators of a graph can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo._text import shown

if TYPE_CHECKING:
    from octavo.graph.graph import Graph


def in_order(graph: Graph) -> list[int]:
    """Return the indices of operators, each after those it reads from; else as they stand."""
    maker = {t: index for index, one in enumerate(graph.operators) for t in one.outputs}
    sources = [{maker[t] for t in one.inputs if t in maker} for one in graph.operators]
    if all(max(found, default=-1) < index for index, found in enumerate(sources)):
        return list(range(len(sources)))
    readers: list[list[int]] = [[] for _ in sources]
    for index, found in enumerate(sources):
        for source in found:
            readers[source].append(index)
    waiting = [len(found) for found in sources]
    ready = [index for index, count in enumerate(waiting) if count == 0]
    for index in ready:
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    if len(ready) < len(sources):
        index = next(index for index, count in enumerate(waiting) if count)
        kind = shown(graph.operators[index].kind)
        raise ValueError(f"operator {index} ({kind}): it reads from itself, through others or not")
    return ready
