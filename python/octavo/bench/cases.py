# SPDX-License-Identifier: Apache-2.0
"""One case of a benchmark: engines timed in turns, the machine's limits in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from octavo import runtime, timing
from octavo.bench import roofline
from octavo.bench.report import Row, make_row


def time_case(
    where: tuple[str, str, int],
    calls: Mapping[str, Callable[[], Any]],
    work: tuple[int, int],
    numpy: str,
    *,
    float_bytes: int | None = None,
    probes: Mapping[str, Callable[[], float]] | None = None,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
    **turns: Any,
) -> list[Row]:
    """Time the engines of a case, (bench, case, threads), and return a row for each.

    `work` is (operations, bytes) of a call with int8 weights, `float_bytes` the bytes with float32
    ones, `numpy` the engine that all are held against. `probes` are rates to measure beside "dot"
    and "read"; with "copy", that alone is the limit. `extra` is what an engine's row says besides.
    `turns` are options of `octavo.timing.run`.
    """
    bench, case, threads = where
    ops, nbytes = work
    rates = dict(probes or {})
    if "copy" not in rates:
        rates["dot"] = partial(roofline.dot_peak, 0.01)
        rates["read"] = partial(roofline.read_speed, nbytes)
    measured = timing.run(calls, probes=rates, settled=threads > 1, **turns)
    found = measured.probes
    if "copy" in found:
        limit = nbytes / (found["copy"] * 1e9)
    else:
        limit = roofline.limit_seconds(ops, nbytes, dot_gops=found["dot"], read_gbs=found["read"])
    rows = []
    for engine, timed in measured.timings.items():
        isa = runtime.get_isa() if engine.startswith("octavo") else "-"
        moved = float_bytes if float_bytes is not None and engine.endswith("float32") else nbytes
        rows.append(
            make_row(
                (bench, case, engine, isa, threads),
                timed,
                (ops, moved),
                limit=limit,
                numpy=measured.timings.get(numpy),
                others=measured.others,
                extra={**found, **(extra or {}).get(engine, {})},
            )
        )
    return rows
