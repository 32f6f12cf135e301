# SPDX-License-Identifier: Apache-2.0
"""Two device files: clusters paired, results paired, what only one of them has listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octavo.bench.columns import Columns
from octavo.bench.compare import Change, Comparison
from octavo.bench.device.files import format_cpus
from octavo.bench.device.parts import known_name
from octavo.bench.device.table import label

_SAME = ("cpu", "arch", "system", "tier", "compiler")


def pair_clusters(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the indices of clusters that belong together, those of the same name first.

    The others are paired by rank: clusters are listed from fast to slow, so two phones with
    different cores are compared big with big and little with little.
    """
    names = _names(head)
    free = list(range(len(names)))
    pairs, rest = [], []
    for index, name in enumerate(_names(base)):
        same = [other for other in free if names[other] == name]
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


def text(result: Comparison, columns: int | None = None) -> str:
    """Return the ratios as a table, for a terminal of `columns` if given, and their mean."""
    if not result.changes:
        raise ValueError("the two files have no results in common")
    widest = max(len(change.key[2]) for change in result.changes)
    titles = (("case", -22), ("cluster", -max(7, widest)), ("T", 3), ("head/base", 9))
    shape = Columns((*titles, ("band", 13), ("verdict", 7)), dropped=("band", "cluster"))
    lines = [shape.header(columns) or "case, threads: head/base"]
    for change in result.changes:
        kind, case, cluster, count = change.key
        name, ratio = label(kind, case), f"{change.ratio:.3f}"
        band = f"{change.low:.2f} .. {change.high:.2f}"
        line = shape.line((name, cluster, count, ratio, band, change.verdict), columns)
        lines.append(line or f"{name}, {count}:\n  {ratio} {change.verdict}")
    mean, count = result.geometric_mean, str(len(result.changes))
    return "\n".join([*lines, f"geometric mean: {mean:.3f} over {count} results"])


def only_in(result: Comparison) -> list[str]:
    """Return a line for each result that one of the files alone has."""
    return [
        f"only in {name}: {label(*key[:2])}, {key[2]}, {_threads(key[3])}"
        for name, keys in (("base", result.only_base), ("head", result.only_head))
        for key in keys
    ]


def _threads(count: str) -> str:
    return "1 thread" if count == "1" else f"{count} threads"


def _title(file: Mapping[str, Any], index: int) -> str:
    """Return a cluster's name, with its CPUs where there are more of that name."""
    names = _names(file)
    if names.count(names[index]) == 1:
        return names[index]
    return f"{names[index]} (CPU {format_cpus(tuple(file['clusters'][index]['cpus']))})"


def _names(file: Mapping[str, Any]) -> list[str]:
    return [known_name(cluster["name"]) for cluster in file["clusters"]]


def _by_key(
    file: Mapping[str, Any], side: str, names: Mapping[tuple[str, int], str]
) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """Return the results by kind, case, cluster, and whether one thread or all ran."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    most: dict[int, int] = {}
    for result in file["results"]:
        most[result["cluster"]] = max(most.get(result["cluster"], 1), result["threads"])
    for result in file["results"]:
        index = result["cluster"]
        cluster = names.get((side, index)) or f"{_title(file, index)} (of {side} alone)"
        threads = result["threads"]
        count = "all" if 1 < threads == most[index] else str(threads)
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
