# SPDX-License-Identifier: Apache-2.0
"""Rows of a benchmark's JSON, made up."""

from __future__ import annotations

from typing import Any


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
