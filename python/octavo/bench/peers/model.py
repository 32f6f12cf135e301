# SPDX-License-Identifier: Apache-2.0
"""A whole BERT in float32 and int8 against the peers: ids in, mean-pooled vectors out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo import compress, models, runtime, timing
from octavo.bench import model as ours
from octavo.bench import roofline
from octavo.bench.blas import limited
from octavo.bench.peers import encoders
from octavo.bench.peers.base import attempt
from octavo.bench.report import Row, make_row
from octavo.data.default_model import default_model

if TYPE_CHECKING:
    from octavo.bench.peers.worker import Request, Tell

MIN_PEER_COSINE = 0.7
"""Some peers lose a lot of accuracy on random ids; below this one is computing something else."""


def _load_ours(folder: Path, workdir: Path) -> tuple[Any, Any, int]:
    """Return our float32 model, our int8 model (saved and read back) and the artifact's bytes."""
    target = workdir / "octavo-int8"
    compress(models.load(folder), recipe="int8").save(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return models.load(folder), models.load(target), size


def _kind_of(engine: str) -> str:
    if engine.startswith("octavo int8"):
        return "ours"
    return "float" if "float32" in engine else "int8"


def _candidates(
    found: dict[str, encoders.Encode], ids: Any, mask: Any
) -> tuple[dict[str, Callable[[], Any]], dict[str, float], list[str]]:
    """Return the engines that answer rightly, their cosine to float32, and what failed."""
    reference = found["octavo float32"](ids, mask)
    calls: dict[str, Callable[[], Any]] = {}
    cosines: dict[str, float] = {}
    failed: list[str] = []
    for engine, encode in found.items():
        vectors, reason = attempt(partial(encode, ids, mask))
        if vectors is None:
            failed.append(f"{engine}: {reason}")
            continue
        cosine = ours.min_cosine(vectors, reference)
        if cosine < MIN_PEER_COSINE:
            failed.append(f"{engine}: cosine {cosine:.3f} to float32")
            continue
        cosines[engine], calls[engine] = cosine, partial(encode, ids, mask)
    return calls, cosines, failed


def _measure_shape(
    shape: tuple[int, ...],
    found: dict[str, encoders.Encode],
    small: Any,
    request: Request,
    extra: dict[str, Any],
) -> tuple[list[Row], list[str]]:
    """Time all engines on one batch; return the rows and the engines that failed."""
    batch, length = shape
    ids, mask = ours.make_ids(batch, length, int(small.config.vocab_size))
    calls, cosines, failed = _candidates(found, ids, mask)
    ops, nbytes = ours.linear_work(small, batch * length)
    measured = timing.run(
        calls,
        rounds=3 if request.quick else 7,
        seconds=0.1 if request.quick else 1.0,
        probes={
            "dot": partial(roofline.dot_peak, 0.01),
            "read": partial(roofline.read_speed, nbytes),
        },
        settled=request.threads > 1,
    )
    rates = measured.probes
    limit = roofline.limit_seconds(ops, nbytes, dot_gops=rates["dot"], read_gbs=rates["read"])
    isa = str(runtime.get_isa())
    rows = [
        make_row(
            (
                "model",
                f"{batch}x{length}",
                engine,
                isa if engine.startswith("octavo") else "-",
                request.threads,
            ),
            timed,
            (ops, nbytes),
            limit=limit,
            numpy=measured.timings["octavo float32"],
            extra={"kind": _kind_of(engine), "cosine": cosines[engine], **rates, **extra},
        )
        for engine, timed in measured.timings.items()
    ]
    return rows, failed


def measure(request: Request, tell: Tell) -> dict[str, Any]:
    """Measure all batches of `request` in this process; see the module ``linear``."""
    with ExitStack() as stack:
        place = request.workdir or stack.enter_context(tempfile.TemporaryDirectory())
        workdir = Path(place)
        folder = Path(request.model) if request.model else default_model()
        full, small, artifact = _load_ours(folder, workdir)
        peers, absent = encoders.find(folder, workdir, request.threads)
        peers = {name: peer for name, peer in peers.items() if request.wants(name)}
        found = {"octavo int8": small.encode, "octavo float32": full.encode, **peers}
        failed: list[str] = []
        stack.enter_context(limited(request.threads))
        for shape in request.shapes:
            rows, wrong = _measure_shape(shape, found, small, request, {"artifact": artifact})
            failed += wrong
            tell(rows)
    return {
        "absent": absent,
        "failed": list(dict.fromkeys(failed)),
        "artifact_bytes": artifact,
    }
