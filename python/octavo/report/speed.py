# SPDX-License-Identifier: Apache-2.0
"""How fast a sparse layer is beside the same layer with every code."""

from __future__ import annotations

from functools import partial

import numpy as np

from octavo import timing
from octavo.nn import Linear

_ROWS = 128


def over_dense(layer: Linear) -> float:
    """Return the time of the dense layer over that of `layer`, of int8 codes, on 128 rows."""
    dense = layer.with_format("dense")
    x = np.random.default_rng(0).standard_normal((_ROWS, layer.in_features), np.float32)
    timed = timing.run(
        {"dense": partial(dense, x), "sparse": partial(layer, x)}, rounds=5, seconds=0.03
    ).timings
    return timed["dense"].median / timed["sparse"].median
