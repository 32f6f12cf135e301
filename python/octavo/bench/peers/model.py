# SPDX-License-Identifier: Apache-2.0
"""A whole BERT in float32 and int8 against the peers: ids in, mean-pooled vectors out."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from octavo import compress, models
from octavo.bench import model as ours
from octavo.bench.blas import limited
from octavo.bench.cases import time_case
from octavo.bench.peers import encoders, ragged
from octavo.bench.peers.base import attempt_all
from octavo.bench.peers.worker import Request, Tell
from octavo.bench.report import Row
from octavo.data.default_model import default_model
from octavo.models.encoder import Encoder
from octavo.models.sentence import SentenceModules

MIN_PEER_COSINE = 0.7
"""Some peers lose a lot of accuracy on random ids; below this one is computing something else."""


def _load_ours(folder: Path, workdir: Path) -> tuple[Any, Any, int]:
    """Return our float32 model, our int8 model (saved and read back) and the artifact's bytes."""
    target = workdir / "octavo-int8"
    compress(models.load(folder), recipe="int8").save(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return models.load(folder), models.load(target), size


def _mean(model: Encoder) -> encoders.Encode:
    """Return what gives mean vectors, as the peers are asked to, whatever the folder says."""
    pool = SentenceModules(model.config.hidden_size)
    return lambda ids, mask: pool(model(ids, mask), mask)


def _kind_of(engine: str) -> str:
    if engine.startswith("octavo int8"):
        return "ours"
    return "float" if "float32" in engine else "int8"


def _candidates(
    found: dict[str, encoders.Encode], ids: Any, mask: Any
) -> tuple[dict[str, Any], dict[str, float], list[str]]:
    """Return the engines that answer rightly, their cosine to float32, and what failed."""
    reference = found["octavo float32"](ids, mask)

    def cosine_of(encode: encoders.Encode) -> float:
        cosine = ours.min_cosine(encode(ids, mask), reference)
        if cosine < MIN_PEER_COSINE:
            raise ArithmeticError(f"cosine {cosine:.3f} to float32")
        return cosine

    cosines, wrong = attempt_all({name: partial(cosine_of, call) for name, call in found.items()})
    calls = {engine: partial(found[engine], ids, mask) for engine in cosines}
    return calls, cosines, [f"{engine}: {reason}" for engine, reason in wrong.items()]


def _measure_case(
    case: str,
    batch: tuple[Any, Any],
    found: dict[str, encoders.Encode],
    small: Any,
    request: Request,
    extra: dict[str, Any],
) -> tuple[list[Row], list[str]]:
    """Time all engines on one batch; return the rows and the engines that failed."""
    ids, mask = batch
    calls, cosines, failed = _candidates(found, ids, mask)
    told = {
        engine: {"kind": _kind_of(engine), "cosine": cosines[engine], **extra} for engine in calls
    }
    rows = time_case(
        ("model", case, request.threads),
        calls,
        ours.linear_work(small, int(mask.sum())),
        "octavo float32",
        extra=told,
        rounds=3 if request.quick else 7,
        seconds=0.1 if request.quick else 1.0,
    )
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
        found = {"octavo int8": _mean(small), "octavo float32": _mean(full), **peers}
        failed: list[str] = []
        stack.enter_context(limited(request.threads))
        vocabulary = int(small.config.vocab_size)
        for rows, length in request.shapes:
            batch = ours.make_ids(rows, length, vocabulary)
            told, wrong = _measure_case(
                f"{rows}x{length}", batch, found, small, request, {"artifact": artifact}
            )
            failed += wrong
            tell(told)
        if request.texts:
            batch = ragged.ragged_ids(small, request.texts)
            at_best = {
                name: call if name.startswith("octavo") else ragged.at_its_best(call, *batch)
                for name, call in found.items()
            }
            told, wrong = _measure_case(
                f"{len(batch[0])} texts", batch, at_best, small, request, {"artifact": artifact}
            )
            failed += wrong
            tell(told)
    return {
        "absent": absent,
        "failed": list(dict.fromkeys(failed)),
        "artifact_bytes": artifact,
    }
