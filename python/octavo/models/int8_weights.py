# SPDX-License-Identifier: Apache-2.0
"""Float layers made int8 while they are read, of files whose formats do not run as they are."""

from __future__ import annotations

import numpy as np

from octavo import nn
from octavo.nn.weights import Int8Weight

_STEP_BYTES = 1 << 22


def int8_weights(name: str, layer: nn.Module) -> nn.Module:
    """Return a layer with its float weight in int8, made some rows at a time."""
    if not (nn.is_linear(layer, "float32") or nn.is_embedding(layer, "float32")):
        return layer
    held = layer.held_weight
    codes, scale = np.empty(held.shape, np.int8), np.empty(held.shape[0], np.float32)
    step = max(1, _STEP_BYTES // (4 * held.shape[1]))
    for start in range(0, held.shape[0], step):
        rows = slice(start, start + step)
        try:
            part = Int8Weight.from_float(held.rows(start, start + step))
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        codes[rows], scale[rows] = part.codes, part.scale
    weight = Int8Weight(codes, scale)
    if nn.is_embedding(layer):
        return nn.Embedding.of(weight)
    assert nn.is_linear(layer)
    return layer.replace(weight=weight)
