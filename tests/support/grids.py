# SPDX-License-Identifier: Apache-2.0
"""Grids of parameters of which a part runs with `--run-slow` alone."""

from __future__ import annotations

import os
from typing import Any

import pytest

from isa_tiers import TIERS

_PICKED = bool(os.environ.get("OCTAVO_TEST_TIERS"))
_WHOLE_BY_DAY = {"numpy", "avx2", "neon", *(() if _PICKED else TIERS[1:2])}
"""NumPy, those that most machines have, and the best here; what is picked may run in software."""


def slow(*values: Any) -> list[Any]:
    """Parameters for the full grid."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def of_the_day(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what runs without `--run-slow`.

    Tiers that are neither the best nor the most common get of a grid what shows every value of
    every parameter: of ten shapes by five formats 14 cases, not 50.
    """
    seen: set[tuple[str, str, str, int]] = set()
    kept = []
    for item in items:
        if item.get_closest_marker("slow"):
            continue
        call = getattr(item, "callspec", None)
        tier = call.params.get("isa", "numpy") if call else "numpy"
        if tier not in _WHOLE_BY_DAY:
            test = item.nodeid.partition("[")[0]
            values = {(test, tier, k, id(v)) for k, v in call.params.items() if k != "isa"}
            if values and values <= seen:
                continue
            seen |= values
        kept.append(item)
    return kept
