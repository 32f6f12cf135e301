# SPDX-License-Identifier: Apache-2.0
"""Rows of a benchmark's JSON, made up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def row_json(case: str, engine: str, seconds: float, **more: Any) -> dict[str, Any]:
    m, n, k = (int(number) for number in case.split("x"))
    extra = {
        "kind": "int8",
        "m": m,
        "n": n,
        "k": k,
        "l2": 100_000,
        "dot": 100.0,
        "weight_read": 10.0,
    }
    extra.update(more.pop("extra", {}))
    base = {
        "bench": "linear",
        "case": case,
        "engine": engine,
        "isa": "-",
        "threads": 1,
        "seconds": seconds,
        "low": seconds * 0.9,
        "high": seconds * 1.1,
        "gops": 2 * m * n * k / seconds / 1e9,
        "vs_numpy": None,
        "extra": extra,
    }
    return {**base, **more}


def write_results(path: Path) -> Path:
    """Write a small result file of ``octavo bench --json``: one shape, two engines."""
    rows = [
        row_json("1x32x32", engine, seconds, nbytes=1300, ops=2048, limit_seconds=1e-7)
        for engine, seconds in (("octavo", 1e-6), ("numpy float32", 3e-6))
    ]
    roof = {"threads": 1, "dot_gops": 100.0, "read_gbs": 10.0}
    document = {"bench": "linear", "rows": rows, "roofline": roof}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
