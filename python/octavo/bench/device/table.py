# SPDX-License-Identifier: Apache-2.0
"""A device on the screen: a heading for each cluster, a line for each result, and what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from octavo.bench.columns import Columns
from octavo.bench.device.clusters import Cluster
from octavo.bench.report import band_of, duration, three_digits

COLUMNS = Columns(
    (("case", -22), ("T", 2), ("value", 10), ("band", 10), ("roofline", 8)),
    dropped=("band", "roofline"),
)


def heading(cluster: Cluster) -> str:
    """Return what is known of a cluster, in one line.

    Examples
    --------
    >>> heading(Cluster("cortex-a53", (0, 1), max_mhz=1400, caches={1: 32768}, pinned=True))
    'cortex-a53 (CPU 0-1): 1400 MHz, L1 32 KiB'
    """
    parts = []
    if cluster.max_mhz is not None:
        parts.append(f"{cluster.max_mhz} MHz")
    parts += [f"L{level} {_size(nbytes)}" for level, nbytes in sorted(cluster.caches.items())]
    if not cluster.pinned:
        parts.append("not pinned")
    return ": ".join(part for part in (cluster.title, ", ".join(parts)) if part)


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:g} MiB" if nbytes >= 1 << 20 else f"{nbytes / 2**10:g} KiB"


def label(kind: str, case: str) -> str:
    """Return what a result is called on the screen.

    Examples
    --------
    >>> label("read", "L1"), label("model", "encoder 1x16")
    ('read L1', 'encoder 1x16')
    """
    return f"{kind} {case}" if kind in ("dot_peak", "read", "copy") else case


def header_line(columns: int | None = None) -> str:
    """Return the titles above `row_line`."""
    return COLUMNS.header(columns) or "case, threads: value"


def row_line(result: Mapping[str, Any], columns: int | None = None) -> str:
    """Return a result as text of fixed widths; two lines where a terminal is very narrow."""
    case = label(result["kind"], result["case"])
    value = f"{three_digits(result['value'])} {result['unit']}"
    if result["unit"] == "us":
        value = duration(result["value"] * 1e-6)
    share = "-" if result["share"] is None else f"{result['share']:.0%}"
    band = band_of(result["least"], result["value"], result["most"])
    line = COLUMNS.line((case, str(result["threads"]), value, band, share), columns)
    return line or f"{case}, {result['threads']}:\n  {value}"


def summary(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on what the sustained load showed, and the notes."""
    for one in document["throttling"]["clusters"]:
        name = document["clusters"][one["cluster"]]["name"]
        line = (
            f"{name} under load for {one['seconds']:.1f} s: {three_digits(one['first'])} -> "
            f"{three_digits(one['last'])} {one['unit']}"
        )
        for key, unit in (("mhz", "MHz"), ("celsius", "C")):
            if one[key] is not None:
                line += f", {one[key][0]:g} -> {one[key][1]:g} {unit}"
        yield line
    if document["energy"] is not None:
        for one in document["energy"]["clusters"]:
            name = document["clusters"][one["cluster"]]["name"]
            idle = "" if one["idle_watts"] is None else f", {one['idle_watts']:.2f} W before"
            yield f"{name}: {one['watts']:.2f} W under load{idle} ({document['energy']['source']})"
    for note in document["notes"]:
        yield f"note: {note}"
