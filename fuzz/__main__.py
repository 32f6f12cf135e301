# SPDX-License-Identifier: Apache-2.0
"""``python -m fuzz``: hunt for a while, print what was tried and what came of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fuzz import engine
from fuzz.targets import TARGETS

FOUND = Path(__file__).with_name("corpus")
"""What was found and mended; each hunt begins with it."""


def main(arguments: list[str] | None = None) -> int:
    """Return 1 if there is a finding, else 0."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="in all; each target has a share")
    parser.add_argument("--seed", default="0", help="the same seed tries the same changes")
    parser.add_argument("--corpus", type=Path, help="a folder that is used and added to")
    given = parser.parse_args(arguments)
    for name in given.targets:
        if name not in TARGETS:
            parser.error(f"target: expected one of {', '.join(TARGETS)}, got {name!r}")
    names = given.targets or list(TARGETS)
    failed = False
    for name in names:
        target = TARGETS[name]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            pool = target.seeds(Path(place))
        for files in pool:
            outcome = engine.alone(target, files)
            if outcome.kind != "accepted":
                raise RuntimeError(f"{name}: a seed is {outcome.kind}: {outcome.message}")
        pool += engine.load_cases(FOUND / name)
        if given.corpus is not None:
            pool += engine.load_cases(given.corpus / name)
        report = engine.hunt(target, given.seconds / len(names), given.seed, pool)
        print(report, flush=True)
        for finding in report.findings:
            folder = engine.save_case((given.corpus or Path("build/fuzz")) / name, finding.files)
            kind, message = finding.outcome
            print(f"  {kind}: {message[:300]}\n    kept in {folder}", flush=True)
        if given.corpus is not None:
            for files in report.kept:
                engine.save_case(given.corpus / name, files)
        failed = failed or bool(report.findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
