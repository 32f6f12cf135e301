# SPDX-License-Identifier: Apache-2.0
"""The targets of ``bench/linear.py`` and ``bench/tiers.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.targets import Row, Target, at_least, at_most, by_case, fastest, mean_at_least, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

GEOMETRIC_MEAN = 2.5
WORST_ROW = 1.1
READ_SHARE = 0.85
DOT_SHARE = 0.5
CALL_MICROSECONDS = 2.5
GRID_K = 384
"""Layers smaller than this are there for the cost of a call, not for the comparison of int8."""


def linear_targets(rows: Sequence[Row]) -> list[Target]:
    """Hold the rows of ``bench/linear.py`` against the project's targets."""
    rivals: list[tuple[float, str]] = []
    numpy: list[tuple[float, str]] = []
    read: list[tuple[float, str]] = []
    dot: list[tuple[float, str]] = []
    floats: list[tuple[float, str]] = []
    calls: list[tuple[float, str]] = []
    for (case, threads), engines in by_case(rows).items():
        if "octavo" not in engines:
            continue
        row = engines["octavo"]
        where, extra = f"{case} T={threads}", row["extra"]
        m, n, k = extra["m"], extra["n"], extra["k"]
        rival = fastest(engines, "int8")
        if rival is not None and min(n, k) >= GRID_K:
            ratio = rival["seconds"] / row["seconds"]
            rivals.append((ratio, f"{where} ({rival['engine']})"))
        if row["vs_numpy"] is not None:
            numpy.append((row["vs_numpy"], where))
        full = engines.get("octavo float32")
        if full is not None and full["vs_numpy"] is not None:
            floats.append((full["vs_numpy"], where))
        if m == 1 and n * k > extra["l2"]:
            read.append((n * k / row["seconds"] / 1e9 / extra["weight_read"], where))
        if m >= 512 and k >= 768:
            dot.append((row["gops"] / extra["dot"], where))
        if (m, n, k) == (1, 64, 64):
            calls.append((row["seconds"] * 1e6, where))
    return [
        mean_at_least("fastest int8 peer, geometric mean", GEOMETRIC_MEAN, rivals),
        at_least("fastest int8 peer, worst row", WORST_ROW, rivals),
        at_least("M = 1, weights > L2: of read speed", READ_SHARE, read, percent),
        at_least("M >= 512, K >= 768: of dot peak", DOT_SHARE, dot, percent),
        at_least("NumPy float32, worst row", 1.0, numpy),
        at_least("float32 against NumPy's, worst row", 1.0, floats),
        at_most("64 -> 64 call", CALL_MICROSECONDS, calls, "{:.2f} us".format),
    ]


def tier_targets(tier: str, rows: Sequence[Row]) -> list[Target]:
    """Hold one forced tier against oneDNN and FBGEMM held to the same instructions."""
    bounds = {"avx2": (0.75, None), "avxvnni": (0.95, 0.8), "avx512vnni": (0.95, 0.8)}
    onednn: list[tuple[float, str]] = []
    peak: list[tuple[float, str]] = []
    floats: list[tuple[float, str]] = []
    small: dict[str, list[tuple[float, str]]] = {"onednn": [], "fbgemm": []}
    for (case, threads), engines in by_case(rows).items():
        row = engines.get("octavo")
        if row is None:
            continue
        extra, where = row["extra"], f"{case} T={threads}"
        bare, dynamic = engines.get("onednn qlinear bare"), engines.get("torch int8 fbgemm")
        if extra["m"] >= 128 and min(extra["n"], extra["k"]) >= 768:
            peak.append((row["gops"] / extra["dot"], where))
            if bare is not None:
                onednn.append((bare["seconds"] / row["seconds"], where))
            if "torch float32" in engines:
                ratio = engines["torch float32"]["seconds"] / row["seconds"]
                floats.append((ratio, where))
        if extra["m"] <= 32:
            for name, rival in (("onednn", bare), ("fbgemm", dynamic)):
                if rival is not None:
                    small[name].append((rival["seconds"] / row["seconds"], where))
    targets = []
    if tier in bounds:
        speed, share = bounds[tier]
        targets.append(at_least(f"{tier}, M >= 128: oneDNN", speed, onednn))
        if share is not None:
            targets.append(at_least(f"{tier}, M >= 128: of dot peak", share, peak, percent))
    if tier == "avx2":
        targets.append(at_least(f"{tier}, M >= 128: PyTorch float32", 1.4, floats))
    targets.append(at_least(f"{tier}, M <= 32: oneDNN", 1.5, small["onednn"]))
    targets.append(at_least(f"{tier}, M <= 32: FBGEMM", 1.5, small["fbgemm"]))
    return targets
