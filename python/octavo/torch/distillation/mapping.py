# SPDX-License-Identifier: Apache-2.0
"""Which layer of the student learns from which layer of the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octavo import _checks


def evenly(count: int, total: int) -> list[int]:
    """Return `count` of `total` layers, the last of each stretch, so that the last one is in.

    Examples
    --------
    >>> evenly(3, 6), evenly(4, 6)
    ([1, 3, 5], [1, 2, 4, 5])
    """
    return [-(-(index + 1) * total // count) - 1 for index in range(count)]


def layer_pairs(student: int, teacher: int, layers: Any = None) -> list[tuple[int, int]]:
    """Pair the layers of a student with layers of its teacher, counted from 0.

    Parameters
    ----------
    student, teacher : int
        How many layers they have.
    layers : None, mapping or sequence of int
        None spreads the student's layers evenly over the teacher's, the last one on the last;
        ``{student layer: teacher layer}`` names the pairs; a sequence names a teacher's layer for
        each of the student's.

    Raises
    ------
    TypeError
        If `layers` is of another kind.
    ValueError
        If there is no such layer, or a sequence has another length.

    Examples
    --------
    >>> from octavo.torch.distillation import layer_pairs
    >>> layer_pairs(3, 6)
    [(0, 1), (1, 3), (2, 5)]
    >>> layer_pairs(3, 6, {0: 0, 2: 5})
    [(0, 0), (2, 5)]
    """
    if layers is None:
        if student > teacher:
            raise ValueError(
                f"layers: expected at most {teacher} layers in the student, as in the teacher, got "
                f"{student}; name the pairs"
            )
        return list(enumerate(evenly(student, teacher)))
    if isinstance(layers, Mapping):
        pairs = list(layers.items())
    elif isinstance(layers, (list, tuple)):
        if len(layers) != student:
            raise ValueError(
                f"layers: expected a teacher's layer for each of the student's {student}, got "
                f"{len(layers)}"
            )
        pairs = list(enumerate(layers))
    else:
        raise TypeError(
            "layers: expected None, {student layer: teacher layer} or a list of teacher layers, "
            f"got {type(layers).__name__}"
        )
    if not pairs:
        raise ValueError("layers: expected at least one pair, got none")
    return [
        (
            _checks.integer(ours, "layers: the student's layer", 0, student - 1),
            _checks.integer(theirs, "layers: the teacher's layer", 0, teacher - 1),
        )
        for ours, theirs in pairs
    ]
