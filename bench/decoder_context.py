# SPDX-License-Identifier: Apache-2.0
"""A decoder's cache and its time for a token, from 512 to 32,768 tokens of context.

The last line fits a straight line to the times: what a token of context costs each token behind it.
Where the model has fewer positions they are raised, since only times and bytes matter here.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import workers
from octavo import models
from octavo.models import Cache

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXTS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
QUICK = CONTEXTS[:3]
STEPS = 12


def loaded(path: str, positions: int) -> Any:
    """Return a model with so many positions or more."""
    model = models.load(path)
    ropes = [rope._replace(positions=max(rope.positions, positions)) for rope in model.config.ropes]
    model.config = replace(model.config, ropes=tuple(ropes))
    return model


def resident_bytes() -> int:
    """Return what this process holds in memory; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return 4096 * int(pages)


def measure(model: Any, contexts: Sequence[int]) -> list[dict[str, float]]:
    """Let one text grow, and decode at each length."""
    ids = np.random.default_rng(2).integers(0, model.config.vocab_size, contexts[-1] + 1)
    model.advance([ids[: contexts[0]]], [Cache(model)], [1])
    before, cache, rows = resident_bytes(), Cache(model), []
    for start, stop in zip((0, *contexts), contexts, strict=False):
        began = time.perf_counter()
        model.advance([ids[start:stop]], [cache], [1])
        speed = (stop - start) / (time.perf_counter() - began)
        steps = []
        for _ in range(STEPS):
            began = time.perf_counter()
            model.advance([ids[-1:]], [cache], [1])
            steps.append(time.perf_counter() - began)
            cache.truncate(stop)
        rows.append(
            {
                "context": stop,
                "cache_bytes": cache.nbytes,
                "resident_bytes": resident_bytes() - before,
                "prompt_tokens_per_second": speed,
                "seconds": statistics.median(steps),
            }
        )
        workers.say(
            f"{stop:6d} tokens: cache {cache.nbytes / 1e6:6.1f} MB, resident "
            f"{rows[-1]['resident_bytes'] / 1e6:6.1f} MB more, last {stop - start} tokens "
            f"{speed:5.0f}/s, decode {1e3 * rows[-1]['seconds']:6.2f} ms"
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "")
    made.add_argument("--model", metavar="PATH", required=True, help="GGUF file or model folder")
    arguments = made.parse_args(argv)
    contexts = QUICK if arguments.quick else CONTEXTS
    rows = measure(loaded(arguments.model, contexts[-1] + 1), contexts)
    x, y = (np.array([row[key] for row in rows]) for key in ("context", "seconds"))
    slope, start = np.polyfit(x, y, 1)
    most = np.abs(start + slope * x - y).max()
    workers.say(
        f"{1e3 * start:.2f} ms and {1e9 * slope:.0f} ns for each token of context; no time differs "
        f"from that by more than {1e3 * most:.2f} ms"
    )
    if arguments.json:
        workers.finish(arguments.json, {"rows": rows, "slope": slope, "start": start})
    return 0


if __name__ == "__main__":
    sys.exit(main())
