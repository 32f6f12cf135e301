# SPDX-License-Identifier: Apache-2.0
"""How fast a sparse layer is beside the same layer with every code."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from octavo import timing

if TYPE_CHECKING:
    from octavo.nn import Linear

_ROWS = 128


def over_dense(layer: Linear, seconds: float = 0.03) -> float:
    """Return the time of the dense layer over that of `layer`, on 128 rows.

    Parameters
    ----------
    layer : Linear
        Of int8 codes.
    seconds : float
        Time for each of the two.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.SparseLinear.from_float(np.eye(64, dtype=np.float32), format="windowed64")
    >>> over_dense(layer, seconds=0.001) > 0
    True
    """
    dense = layer.with_format("dense")
    x = np.random.default_rng(0).standard_normal((_ROWS, layer.in_features), np.float32)
    timed = timing.run(
        {"dense": partial(dense, x), "sparse": partial(layer, x)}, rounds=5, seconds=seconds
    ).timings
    return timed["dense"].median / timed["sparse"].median
