# SPDX-License-Identifier: Apache-2.0
"""A whole BERT (all-MiniLM-L6-v2 by default): our float32 and int8 against the peers'.

Token ids in, mean-pooled sentence vectors out; also the size of the int8 artifact.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from common import workers
from common.targets import Row, Target, at_least, at_most, by_case
from octavo.bench import report
from octavo.bench.peers.worker import Request
from octavo.data.default_model import default_model

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPES = ((1, 16), (1, 128), (8, 128), (32, 128), (1, 512))
QUICK = ((1, 16), (1, 128))
ARTIFACT_MEGABYTES = 23.5
FASTER_THAN_TORCH = 2.5


def model_folder(path: str | None) -> Path:
    """Return `path`, or the folder of the model that ``octavo demo`` takes."""
    if path:
        if not (Path(path) / "config.json").exists():
            raise SystemExit(f"{path}: expected a model folder with a config.json")
        return Path(path)
    try:
        return default_model()
    except FileNotFoundError as error:
        raise SystemExit(f"give --model FOLDER, or: {error}") from error


def model_targets(rows: Sequence[Row]) -> list[Target]:
    """Hold the rows against the project's targets."""
    sizes = [(row["extra"]["artifact"] / 1e6, "") for row in rows[:1]]
    faster: list[tuple[float, str]] = []
    for (case, threads), engines in by_case(rows).items():
        if (case, threads) == ("1x128", 1) and "torch float32" in engines:
            ratio = engines["torch float32"]["seconds"] / engines["octavo int8"]["seconds"]
            faster.append((ratio, case))
    return [
        at_most("artifact", ARTIFACT_MEGABYTES, sizes, "{:.2f} MB".format),
        at_least("1x128, one thread: PyTorch float32", FASTER_THAN_TORCH, faster),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="BATCHxTOKENS,...")
    workers.add_threads(made)
    made.add_argument("--model", metavar="FOLDER", help="model folder")
    made.add_argument("--texts", metavar="FILE", help="texts too, a line each: ragged batches")
    made.add_argument("--workdir", metavar="FOLDER", help="keep converted models here")
    arguments = made.parse_args(argv)
    shapes = workers.shapes_or(arguments.shapes, 2, QUICK if arguments.quick else SHAPES)
    folder = str(model_folder(arguments.model).resolve())
    texts = str(Path(arguments.texts).resolve()) if arguments.texts else None
    with tempfile.TemporaryDirectory(prefix="octavo-bench-model-") as place:
        workdir = Path(arguments.workdir or place).resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        workers.say(report.header_line())
        return workers.run_all(
            lambda threads: workers.run_request(
                Request("model", shapes, threads, (), arguments.quick, folder, str(workdir), texts)
            ),
            workers.counts_or_usual(arguments.threads),
            model_targets,
            arguments.json,
        )


if __name__ == "__main__":
    sys.exit(main())
