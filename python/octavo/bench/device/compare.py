# SPDX-License-Identifier: Apache-2.0
"""Two device files: clusters paired, results paired, what only one of them has listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octavo.bench.compare import Change, Comparison
from octavo.bench.device.files import format_cpus
from octavo.bench.report import table

_SAME = ("cpu", "arch", "system", "tier", "compiler")


def pair_clusters(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the indices of clusters that belong together, those of the same name first.

    The others are paired by rank: clusters are listed from fast to slow, so two phones with
    different cores are compared big with big and little with little.
    """
    free = list(range(len(head["clusters"])))
    pairs, rest = [], []
    for index, cluster in enumerate(base["clusters"]):
        same = [other for other in free if head["clusters"][other]["name"] == cluster["name"]]
        if same:
            pairs.append((index, same[0]))
            free.remove(same[0])
        else:
            rest.append(index)
    return sorted([*pairs, *zip(rest, free, strict=False)])


def compare(base: Mapping[str, Any], head: Mapping[str, Any]) -> Comparison:
    """Compare two checked documents; a ratio is head's time over base's, for rates as well.

    Threads are one or all of a cluster: all of four CPUs are compared with all of two.
    """
    names = {}
    for old, new in pair_clusters(base, head):
        one, two = (_title(file, index) for file, index in ((base, old), (head, new)))
        names["base", old] = names["head", new] = one if one == two else f"{one} -> {two}"
    before, after = (_by_key(file, side, names) for file, side in ((base, "base"), (head, "head")))
    changes = [_change(key, before[key], after[key]) for key in before if key in after]
    return Comparison(
        tuple(changes),
        tuple(key for key in before if key not in after),
        tuple(key for key in after if key not in before),
    )


def differences(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that both files were not measured alike on."""
    lines = [(key, base[key], head[key]) for key in ("program", "octavo")]
    lines += [(key, base["machine"][key], head["machine"][key]) for key in _SAME]
    found = [f"{key}: {one} -> {two}" for key, one, two in lines if one != two]
    for name, file in (("base", base), ("head", head)):
        if not file["complete"]:
            found.append(f"{name} is not complete")
    return found


def text(result: Comparison) -> str:
    """Return the ratios as a table, and their geometric mean."""
    if not result.changes:
        raise ValueError("the two files have no results in common")
    lines = [
        (
            *change.key,
            f"{change.ratio:.3f}",
            f"{change.low:.2f} .. {change.high:.2f}",
            change.verdict,
        )
        for change in result.changes
    ]
    header = ("kind", "case", "cluster", "T", "head/base", "band", "verdict")
    mean = f"geometric mean of head/base: {result.geometric_mean:.3f} over {len(lines)} results"
    return f"{table(header, lines)}\n{mean}"


def only_in(result: Comparison) -> list[str]:
    """Return a line for each result that one of the files alone has."""
    return [
        f"only in {name}: {' '.join(key[:3])}, {_threads(key[3])}"
        for name, keys in (("base", result.only_base), ("head", result.only_head))
        for key in keys
    ]


def _threads(count: str) -> str:
    return "1 thread" if count == "1" else f"{count} threads"


def _title(file: Mapping[str, Any], index: int) -> str:
    """Return a cluster's name, with its CPUs where there are more of that name."""
    cluster = file["clusters"][index]
    names = [other["name"] for other in file["clusters"]]
    if names.count(cluster["name"]) == 1:
        return str(cluster["name"])
    return f"{cluster['name']} (CPU {format_cpus(tuple(cluster['cpus']))})"


def _by_key(
    file: Mapping[str, Any], side: str, names: Mapping[tuple[str, int], str]
) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """Return the results by kind, case, cluster, and whether one thread or all ran."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for result in file["results"]:
        index = result["cluster"]
        cluster = names.get((side, index)) or f"{_title(file, index)} (of {side} alone)"
        count = "1" if result["threads"] == 1 else "all"
        found[result["kind"], result["case"], cluster, count] = result
    return found


def _change(key: tuple[str, ...], base: Mapping[str, Any], head: Mapping[str, Any]) -> Change:
    """Return the ratio of times, with a band of the repetitions' extremes."""
    if base["unit"] != "us":
        base, head = head, base  # a higher rate is a shorter time
    return Change(
        key,
        head["value"] / base["value"],
        head["least"] / base["most"],
        head["most"] / base["least"],
    )
