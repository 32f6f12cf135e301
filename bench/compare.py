# SPDX-License-Identifier: Apache-2.0
"""Compare two result files: ``python bench/compare.py base.json head.json``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import workers
from octavo.bench.compare import Change, compare, geometric_mean
from octavo.bench.report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

SAME = ("cpu", "compiler", "octavo", "backend", "isa", "numpy")


def load(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from error


def line(change: Change) -> tuple[str, ...]:
    _, case, engine, isa, threads = change.key
    band = f"{change.low:.2f} .. {change.high:.2f}"
    return case, engine, isa, threads, f"{change.ratio:.3f}", band, change.verdict


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("base")
    made.add_argument("head")
    made.add_argument("--json", metavar="FILE", help="write the ratios to FILE")
    made.add_argument("--engine", default="", help="only engines with this word in their name")
    made.add_argument("--quick", action="store_true", help="only rows that changed")
    made.add_argument("--fail-above", type=float, metavar="R", help="exit 1 if a ratio is above R")
    arguments = made.parse_args(argv)
    base, head = load(arguments.base), load(arguments.head)
    for key in SAME:
        one, two = (document.get("machine", {}).get(key) for document in (base, head))
        if one != two:
            workers.say(f"{key}: {one} -> {two}")
    try:
        result = compare(base, head)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    chosen = [change for change in result.changes if arguments.engine in change.key[2]]
    shown = [change for change in chosen if not arguments.quick or change.verdict != "same"]
    header = ("case", "engine", "isa", "T", "head/base", "band", "verdict")
    workers.say(table(header, map(line, shown)))
    for name, keys in (("base", result.only_base), ("head", result.only_head)):
        if keys:
            workers.say(f"only in {name}: {len(keys)} rows")
    if not chosen:
        raise SystemExit("no rows in common")
    mean = geometric_mean([change.ratio for change in chosen])
    workers.say(f"geometric mean of head/base: {mean:.3f} over {len(chosen)} rows")
    rows = [
        {"key": list(c.key), "ratio": c.ratio, "low": c.low, "high": c.high, "verdict": c.verdict}
        for c in chosen
    ]
    workers.finish(arguments.json, {"schema": 1, "bench": "compare", "rows": rows})
    if arguments.fail_above is None:
        return 0
    # The band must exclude chance as well: a noisy row alone is no regression.
    slower = [c for c in chosen if c.ratio > arguments.fail_above and c.verdict == "slower"]
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
