# SPDX-License-Identifier: Apache-2.0
"""Compare two result files: ``python bench/compare.py base.json head.json``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from common import workers
from octavo.bench import compare

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("base")
    made.add_argument("head")
    made.add_argument("--json", metavar="FILE", help="write the ratios to FILE")
    made.add_argument("--engine", default="", help="only engines with this word in their name")
    made.add_argument("--quick", action="store_true", help="only rows that changed")
    made.add_argument("--fail-above", type=float, metavar="R", help="exit 1 if a ratio is above R")
    arguments = made.parse_args(argv)
    try:
        base, head = compare.read(arguments.base), compare.read(arguments.head)
        result = compare.compare(base, head)
        shown = compare.text(result, arguments.engine, arguments.quick)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    for line in compare.changed_machine(base, head):
        workers.say(line)
    workers.say(shown)
    workers.finish(arguments.json, result.to_json(arguments.engine))
    if arguments.fail_above is None:
        return 0
    return 1 if compare.slower(result, arguments.fail_above, arguments.engine) else 0


if __name__ == "__main__":
    sys.exit(main())
