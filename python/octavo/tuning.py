# SPDX-License-Identifier: Apache-2.0
"""Which format makes a sparse weight fastest on a tier: a small table, shipped or measured.

A cost is the time of one unit of a format's work over the time of 64 products of the dense layer,
on the same tier, for some number of rows, while the weight lies in L2.  A unit is a step of 64
slots; of "bsr1x1" it is 16 fours of weights, the last of an output filled up; of "bitmap" a group
of 64 weights, zeros included; of "bsr16x4" a block of 64 weights that are not all zero (for AMX, a
sixteenth of a tile that is not); of "bsr1x4" and "bsr4x1" 16 blocks of 4 such weights; of the dense
format, whose cost is 1, a group of 64 weights.  "bytes" is the cost of reading 64 bytes from beyond
L2.

There are two regimes.  A weight that L2 holds takes the time of its work: units times cost.  A
larger one takes at least the time of reading its bytes.  A format pays where it takes less time
than the dense one.

`measure` makes such a table (``octavo tune`` on the command line), `save` keeps it for later
processes on this CPU, `costs` returns what is in use.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from octavo import _backend, _checks
from octavo._cost_table import BYTES, ROWS, costs, read, save
from octavo._formats import DENSE, SPARSE_FORMATS

__all__ = ["BYTES", "ROWS", "SPARSE_FORMATS", "choose", "costs", "format_cost", "read", "save"]

MOST_INPUTS = 65536
"""How many inputs a sparse format takes."""

_SAMPLED_PANELS = 32
_MARGIN = 1.04
"""A format must promise this much more speed than the dense one, for every number of rows."""


def format_cost(codes: NDArray[np.int8], name: str) -> tuple[int, int]:
    """Return a format's units of work on codes (N, K), and its bytes.

    The bytes leave out the column sums, which all formats have.  Units are those of the tier in
    use.

    Parameters
    ----------
    codes : int8 array, shape (N, K)
    name : str
        "dense" or one of `SPARSE_FORMATS`.

    Raises
    ------
    ValueError
        For another name, or more inputs than the format takes.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.tuning.format_cost(np.eye(64, dtype=np.int8), "bitmap")
    (64, 672)
    """
    units, nbytes = _backend.backend.format_cost(np.ascontiguousarray(codes), name)
    return int(units), int(nbytes)


def choose(codes: NDArray[np.int8], rows: int | Sequence[int] | None = None) -> str:
    """Return the format for codes (N, K): fast, never slower than "dense", nor larger.

    Of the formats that lose to "dense" for no number of rows it is the one that stays nearest to
    the best of them: whose worst ratio to it, over the numbers of rows, is smallest.  Formats are
    compared on a sample of the rows, the one chosen is checked on all of them.

    Parameters
    ----------
    codes : int8 array, shape (N, K)
    rows : int or sequence of int, optional
        How many rows calls will have; the others then do not count.  A number between two of
        `ROWS` stands for both.

    Raises
    ------
    TypeError, ValueError
        For rows that are no positive integers.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.tuning.choose(np.ones((64, 64), np.int8))
    'dense'
    """
    places = _places(rows)
    n, k = codes.shape
    if _backend.name != "native" or n * k == 0 or k > MOST_INPUTS:
        return DENSE
    codes = np.ascontiguousarray(codes)
    sample = _sample(codes)
    # Blocks of 66 bytes for 64 weights are the smallest form of few zeros.
    if 66 * int(np.count_nonzero(sample)) > 64 * 64 * format_cost(sample, DENSE)[0]:
        return DENSE
    whole = len(codes) / len(sample)
    found = {}
    for name in SPARSE_FORMATS:
        gains = _gains(sample, name, places, whole)
        if gains:
            found[name] = gains
    best = [max(column) for column in zip(*found.values(), strict=True)]
    worst = {
        name: max(top / own for top, own in zip(best, gains, strict=True))
        for name, gains in found.items()
    }
    for name in sorted(found, key=worst.__getitem__):
        if sample is codes or _gains(codes, name, places):
            return name
    return DENSE


def _gains(
    codes: NDArray[np.int8], name: str, places: list[int], whole: float = 1.0
) -> list[float]:
    """Return a format's speed over the dense one; empty where it is larger, or slower somewhere.

    `whole` is the size of the weight that codes are a part of, over theirs.
    """
    dense, own = format_cost(codes, DENSE), format_cost(codes, name)
    if own[1] > dense[1]:
        return []
    table = costs()
    times = _times(own, table[name], table[BYTES], whole)
    dense_times = _times(dense, (1.0,) * len(ROWS), table[BYTES], whole)
    gains = [dense_times[place] / times[place] for place in places]
    return gains if min(gains) >= _MARGIN else []


def _times(
    made: tuple[int, int], cost: Sequence[float], reading: Sequence[float], whole: float
) -> list[float]:
    """Return the times, for `ROWS`, of a format with these units and bytes."""
    units, nbytes = made
    working = [units * value for value in cost]
    if nbytes * whole <= _backend.backend.machine()["l2_bytes"]:
        return working
    return [max(work, nbytes / 64 * value) for work, value in zip(working, reading, strict=True)]


def _places(rows: int | Sequence[int] | None) -> list[int]:
    """Return which of `ROWS` stand for these numbers of rows."""
    if rows is None:
        return list(range(len(ROWS)))
    wanted = list(rows) if isinstance(rows, (list, tuple, range, np.ndarray)) else [rows]
    if not wanted:
        raise ValueError("rows: expected at least one number, got none")
    places: set[int] = set()
    for count in wanted:
        number = _checks.integer(count, "rows", 1)
        last = len(ROWS) - 1
        places.add(min(last, bisect.bisect_left(ROWS, number)))
        places.add(max(0, bisect.bisect_right(ROWS, number) - 1))
    return sorted(places)


def _sample(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return whole panels of 16 rows, one from each of `_SAMPLED_PANELS` parts; or all codes."""
    panels = len(codes) // 16
    if panels <= _SAMPLED_PANELS:
        return codes
    ends = np.linspace(0, panels, _SAMPLED_PANELS + 1).astype(np.intp)
    picked = np.random.default_rng(0).integers(ends[:-1], ends[1:])
    rows = (16 * picked[:, None] + np.arange(16)).reshape(-1)
    return codes[rows]
