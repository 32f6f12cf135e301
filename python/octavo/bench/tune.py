# SPDX-License-Identifier: Apache-2.0
"""``octavo tune``: what a step of each sparse format costs on this machine's tiers, and a read."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from octavo import _backend, runtime, timing, tuning
from octavo.bench import roofline
from octavo.nn import SparseLinear

_LARGEST_SIZE = 768
_SHARE_OF_L2 = 0.6
"""What a dense weight takes of it at most, to be measured in L2 with the inputs beside it."""

_TIMES_L2 = (8, 64)
"""Reading is measured over so many times its size: usually from L3, and from memory."""

_READINGS = 5

_KEPT = {
    "windowed16": 0.4,
    "windowed64": 0.1,
    "bsr1x1": 0.1,
    "bitmap": 0.4,
    "bsr16x4": 0.2,
    "bsr1x4": 0.1,
    "bsr4x1": 0.1,
}
"""Share of non-zero weights at which a format is measured: where it is typically chosen."""


def measure(
    on_step: Callable[[str, int], None] | None = None,
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Measure every tier of this machine, one thread; return a table for `octavo.tuning.save`.

    `on_step` is called with the tier and the number of rows before each measurement.
    """
    if _backend.name != "native":
        raise RuntimeError(f"tune needs the native backend, this is {_backend.name!r}")
    before = runtime.get_num_threads()
    runtime.set_num_threads(1)
    try:
        table = {}
        for tier in runtime.isa_tiers():
            with runtime.use_isa(tier):
                table[tier] = measure_tier(on_step)
        return table
    finally:
        runtime.set_num_threads(before)


def measure_tier(
    on_step: Callable[[str, int], None] | None = None, *, seconds: float = 0.1
) -> dict[str, tuple[float, ...]]:
    """Measure the tier in use; return its part of the table."""
    rng = np.random.default_rng(0)
    l2_bytes = _backend.backend.machine()["l2_bytes"]
    # A multiple of 64.
    size = min(_LARGEST_SIZE, 64 * int(math.sqrt(_SHARE_OF_L2 * l2_bytes) / 64))
    # Normally distributed, as weights are: the dense AVX2 kernel is faster on small ones.
    normal = np.rint(38 * rng.standard_normal((size, size))).clip(-127, 127)
    codes = {"dense": np.where(normal == 0, 1, normal).astype(np.int8)}
    work = {"dense": size * size // 64}
    for name, kept in _KEPT.items():
        codes[name] = codes["dense"] * _mask(rng, name, size, kept)
        work[name], _ = tuning.format_cost(codes[name], name)
    # Quantization and epilogue are the same for all; a layer of zeros has nothing else.
    layers = {name: _layer(c, name) for name, c in codes.items()}
    layers["nothing"] = _layer(np.zeros((size, size), np.int8), "windowed64")
    reading = _reading_seconds(l2_bytes)
    found: dict[str, list[float]] = {name: [] for name in (*_KEPT, tuning.BYTES)}
    for rows in tuning.ROWS:
        if on_step is not None:
            on_step(runtime.get_isa(), rows)
        x = rng.standard_normal((rows, size), dtype=np.float32)
        calls = {name: partial(layer, x) for name, layer in layers.items()}
        timed = timing.run(calls, rounds=25, seconds=seconds).timings
        # The fastest rounds: other programs only make a round slower.
        nothing = timed["nothing"].low
        unit = {name: (timed[name].low - nothing) / work[name] for name in codes}
        unit[tuning.BYTES] = reading
        for name, costs in found.items():
            costs.append(round(max(unit[name] / unit["dense"], 0.001), 3))
    return {name: tuple(values) for name, values in found.items()}


def _reading_seconds(l2_bytes: int) -> float:
    """Return what 64 bytes from beyond L2 take: a weight may lie in L3 or not, so the mean."""
    speeds = [
        max(roofline.read_speed(times * l2_bytes) for _ in range(_READINGS)) for times in _TIMES_L2
    ]
    return 64e-9 / timing.geometric_mean(speeds)


def _mask(rng: np.random.Generator, name: str, size: int, kept: float) -> np.ndarray[Any, Any]:
    # As many inputs as the tier multiplies at once: 4, or a tile of 64.
    one = np.zeros((16, 64), np.int8)
    one[0, 0] = 1
    width = 4 * tuning.format_cost(one, "bsr16x4")[0]
    blocks = {"bsr16x4": (16, width), "bsr1x4": (1, 4), "bsr4x1": (4, 1)}
    height, width = blocks.get(name, (1, 1))
    mask = (rng.random((size // height, size // width)) < kept).astype(np.int8)
    return np.kron(mask, np.ones((height, width), np.int8))


def _layer(codes: np.ndarray[Any, Any], name: str) -> SparseLinear:
    return SparseLinear.from_quantized(codes, 0.01, format=name)
