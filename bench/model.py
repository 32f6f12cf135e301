# SPDX-License-Identifier: Apache-2.0
"""A whole BERT (all-MiniLM-L6-v2 by default): our float32 and int8 against the peers'.

Token ids in, mean-pooled sentence vectors out; also the size of the int8 artifact.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import minilm, model_peers, workers
from common.peers import attempt
from common.targets import Row, Target, at_least, at_most, by_case
from octavo import compress, models, runtime
from octavo.bench import model as ours
from octavo.bench import report, roofline, timing
from octavo.bench.blas import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHAPES = ((1, 16), (1, 128), (8, 128))
QUICK = ((1, 16), (1, 128))
ARTIFACT_MEGABYTES = 23.5
FASTER_THAN_TORCH = 2.5
MIN_PEER_COSINE = 0.7
"""Some peers lose a lot of accuracy on random ids; below this one is computing something else."""


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def load_ours(folder: Path, workdir: Path) -> tuple[Any, Any, int]:
    """Return our float32 model, our int8 model (saved and read back) and the artifact's bytes."""
    target = workdir / "octavo-int8"
    compress(models.load(str(folder)), recipe="int8").save(str(target))
    return models.load(str(folder)), models.load(str(target)), folder_bytes(target)


def kind_of(engine: str) -> str:
    if engine.startswith("octavo"):
        return "ours"
    return "float" if "float32" in engine else "int8"


def measure_shape(
    shape: tuple[int, ...],
    encoders: dict[str, Callable[[Any, Any], Any]],
    small: Any,
    threads: int,
    quick: bool,
) -> tuple[list[report.Row], list[str]]:
    """Time all engines on one batch; return the rows and the engines that failed."""
    batch, length = shape
    ids, mask = ours.make_ids(batch, length, 30_000)
    reference = encoders["octavo float32"](ids, mask)
    calls: dict[str, Callable[[], Any]] = {}
    cosines: dict[str, float] = {}
    failed: list[str] = []
    for engine, encode in encoders.items():
        vectors, reason = attempt(partial(encode, ids, mask))
        if vectors is None:
            failed.append(f"{engine}: {reason}")
            continue
        cosines[engine] = ours.min_cosine(vectors, reference)
        if cosines[engine] < MIN_PEER_COSINE:
            failed.append(f"{engine}: cosine {cosines[engine]:.3f} to float32")
            continue
        calls[engine] = partial(encode, ids, mask)
    ops, nbytes = ours.linear_work(small, batch * length)
    measured = timing.run(
        calls,
        rounds=3 if quick else 7,
        seconds=0.1 if quick else 1.0,
        probes={
            "dot": partial(roofline.dot_peak, 0.01),
            "read": partial(roofline.read_speed, nbytes),
        },
        settled=threads > 1,
    )
    rates = measured.probes
    limit = roofline.limit_seconds(ops, nbytes, dot_gops=rates["dot"], read_gbs=rates["read"])
    isa = str(runtime.get_isa())
    rows = [
        report.make_row(
            (
                "model",
                f"{batch}x{length}",
                engine,
                isa if engine.startswith("octavo") else "-",
                threads,
            ),
            timed,
            (ops, nbytes),
            limit=limit,
            numpy=measured.timings["octavo float32"],
            extra={"kind": kind_of(engine), "cosine": cosines[engine], **rates},
        )
        for engine, timed in measured.timings.items()
    ]
    return rows, failed


def work(arguments: Any, shapes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Measure all batches in this process; return the JSON document."""
    threads, workdir = arguments.worker, Path(arguments.workdir)
    runtime.set_num_threads(threads)
    folder = minilm.model_folder(arguments.model)
    full, small, artifact = load_ours(folder, workdir)
    peers, absent = model_peers.find(folder, workdir, threads)
    workers.announce(absent)
    encoders = {"octavo int8": small.encode, "octavo float32": full.encode, **peers}
    rows: list[report.Row] = []
    failed: list[str] = []
    with limited(threads):
        for shape in shapes:
            made, wrong = measure_shape(shape, encoders, small, threads, arguments.quick)
            rows += made
            failed += wrong
            for row in sorted(made, key=lambda row: row.seconds):
                cosine = row.extra["cosine"]
                workers.say(f"{report.row_line(row)}  cosine {cosine:.4f}")
            workers.say()
    for line in dict.fromkeys(failed):
        workers.say(f"failed: {line}")
    for row in rows:
        row.extra["artifact"] = artifact
    settings = {"quick": arguments.quick}
    more = {"versions": workers.versions(), "absent": absent, "failed": failed}
    return report.document("model", rows, settings, artifact_bytes=artifact, **more)


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
    made.add_argument("--workdir", metavar="FOLDER", help="keep converted models here")
    made.add_argument("--worker", type=int, metavar="T", help="measure here, with T threads")
    arguments = made.parse_args(argv)
    shapes = workers.shapes_or(arguments.shapes, 2, QUICK if arguments.quick else SHAPES)
    if arguments.worker:
        workers.finish(arguments.json, work(arguments, shapes))
        return 0
    passed = ["--shapes", ",".join("x".join(map(str, shape)) for shape in shapes)]
    passed += ["--quick"] * arguments.quick
    passed += ["--model", str(Path(arguments.model).resolve())] if arguments.model else []
    counts = workers.thread_counts(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="octavo-bench-model-") as folder:
        workdir = Path(arguments.workdir or folder)
        workdir.mkdir(parents=True, exist_ok=True)
        workers.say(report.header_line())
        passed += ["--workdir", str(workdir.resolve())]
        return workers.run_all(__file__, passed, counts, model_targets, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
