# SPDX-License-Identifier: Apache-2.0
"""The file of a device: what makes one, and every field of a foreign one checked by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from octavo import _checks
from octavo._text import shown
from octavo.bench.device.measure import UNITS

FORMAT, VERSION = "octavo-device", 1

Rule = Callable[[Any, str], object]
"""``rule(value, name)`` raises TypeError or ValueError for what a field must not be."""

_MOST_TEXT = 1000
_MOST_CPUS = 4096


def text(value: object, name: str) -> None:
    """Refuse what cannot be shown on a terminal."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a text, got {_checks.describe(value)}")
    if len(value) > _MOST_TEXT or not value.isprintable():
        raise ValueError(
            f"{name}: expected at most {_MOST_TEXT} printable characters, got {shown(value)}"
        )


def printable(value: Any) -> Any:
    """Return JSON values with texts that `text` accepts: a system may call itself anything."""
    if isinstance(value, dict):
        return {key: printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    if isinstance(value, str):
        return "".join(one if one.isprintable() else " " for one in value)[:_MOST_TEXT]
    return value


def _optional(rule: Rule) -> Rule:
    return lambda value, name: value is None or rule(value, name)


def _list_of(rule: Rule, least: int = 0) -> Rule:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            wanted = f"a list of at least {least}" if least else "a list"
            raise TypeError(f"{name}: expected {wanted}, got {shown(value)}")
        for index, item in enumerate(value):
            rule(item, f"{name}[{index}]")

    return check


def _object_of(fields: Mapping[str, Rule]) -> Rule:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise TypeError(f"{name}: expected an object, got {_checks.describe(value)}")
        for field, rule in fields.items():
            if field not in value:
                raise ValueError(f"{name}: {field} is missing")
            rule(value[field], f"{name}: {field}")

    return check


def _caches(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{name}: expected an object, got {_checks.describe(value)}")
    for level, size in value.items():
        if level not in ("1", "2", "3", "4"):
            raise ValueError(f"{name}: expected levels from 1 to 4, got {shown(level)}")
        _checks.integer(size, f"{name}: {level}", 1, 1 << 40)


_POSITIVE: Rule = partial(_checks.real, interval="(0, inf)")
_SHARE: Rule = partial(_checks.real, interval="[0, inf)")
_CPU: Rule = partial(_checks.integer, low=0, high=_MOST_CPUS - 1)
_COUNT: Rule = partial(_checks.integer, low=1)
_PAIR = _optional(_list_of(_checks.real, 2))

_MACHINE: dict[str, Rule] = {
    **dict.fromkeys(("cpu", "arch", "system", "tier", "compiler"), text),
    "tiers": _list_of(text),
    "cpus": _COUNT,
    "memory_bytes": _optional(partial(_checks.integer, low=1, high=1 << 60)),
}
_CLUSTER: dict[str, Rule] = {
    "name": text,
    "cpus": _list_of(_CPU, 1),
    "pinned": _checks.boolean,
    "max_mhz": _optional(_POSITIVE),
    "capacity": _optional(_POSITIVE),
    "caches": _caches,
}
_RESULT: dict[str, Rule] = {
    "cluster": partial(_checks.integer, low=0),
    "threads": partial(_checks.integer, low=1, high=_MOST_CPUS),
    "kind": partial(_checks.choice, choices=tuple(UNITS)),
    "case": text,
    "tier": text,
    **dict.fromkeys(("value", "least", "most", "first", "last"), _POSITIVE),
    "unit": text,
    "repetitions": _COUNT,
    "share": _optional(_SHARE),
}
_LOAD: dict[str, Rule] = {
    "cluster": partial(_checks.integer, low=0),
    "threads": _COUNT,
    **dict.fromkeys(("seconds", "first", "last"), _POSITIVE),
    "unit": text,
    "mhz": _PAIR,
    "celsius": _PAIR,
    "sensor": _optional(text),
}
_POWER: dict[str, Rule] = {
    "cluster": partial(_checks.integer, low=0),
    "seconds": _POSITIVE,
    "watts": _POSITIVE,
    "idle_watts": _optional(_SHARE),
}
_DOCUMENT: dict[str, Rule] = {
    **dict.fromkeys(("program", "octavo", "when"), text),
    "seconds": _SHARE,
    "complete": _checks.boolean,
    "machine": _object_of(_MACHINE),
    "clusters": _list_of(_object_of(_CLUSTER)),
    "results": _list_of(_object_of(_RESULT)),
    "throttling": _optional(
        _object_of({"seen": _optional(_checks.boolean), "clusters": _list_of(_object_of(_LOAD))})
    ),
    "energy": _optional(_object_of({"source": text, "clusters": _list_of(_object_of(_POWER))})),
    "notes": _list_of(text),
}


def is_device(document: object) -> bool:
    """Whether a JSON value says that it is such a file."""
    return isinstance(document, dict) and document.get("format") == FORMAT


def check(document: Mapping[str, Any], name: str) -> None:
    """Refuse a file of another version, or with a field that is missing or impossible.

    Parameters
    ----------
    document : dict
        What the file's JSON says, of which `is_device` is true.
    name : str
        The file, for messages.

    Raises
    ------
    TypeError, ValueError
        The message names the file and the field.

    Examples
    --------
    >>> check({"format": "octavo-device", "version": 2}, "a.json")
    Traceback (most recent call last):
    ValueError: a.json: version: expected 1, got 2
    """
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"{name}: version: expected {VERSION}, got {shown(version)}")
    _object_of(_DOCUMENT)(document, name)
    seen = set()
    for where, one in _of_clusters(document, name):
        if one["cluster"] >= len(document["clusters"]):
            count = len(document["clusters"])
            raise ValueError(f"{where}: cluster: expected less than {count}, got {one['cluster']}")
    for index, one in enumerate(document["results"]):
        where = f"{name}: results[{index}]"
        unit = UNITS[one["kind"]]
        if one["unit"] != unit:
            raise ValueError(f"{where}: unit: expected {unit!r}, got {shown(one['unit'])}")
        if not one["least"] <= one["value"] <= one["most"]:
            raise ValueError(f"{where}: value: expected one between least and most")
        key = tuple(one[part] for part in ("cluster", "threads", "kind", "case"))
        if key in seen:
            raise ValueError(f"{where}: case: {shown(one['case'])} was there before")
        seen.add(key)


def _of_clusters(document: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what names a cluster, and where it stands."""
    parts = {"results": document["results"]}
    for part in ("throttling", "energy"):
        parts[f"{part}: clusters"] = (document[part] or {"clusters": []})["clusters"]
    for part, items in parts.items():
        for index, one in enumerate(items):
            yield f"{name}: {part}[{index}]", one
