# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalization as a stage; it needs no data."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo import nn
from octavo.algorithms.smoothing import equalizing_scale
from octavo.algorithms.smoothing.fold import geometric_means
from octavo.compression.smooth import fold_pair
from octavo.compression.work import Work


def equalize(work: Work) -> None:
    """Even out the channels between each pair of layers that allows it, if the recipe says so."""
    if not work.recipe.quantize.equalize:
        return
    for pair in work.model.pairs():
        before: Any = work.model.get_submodule(pair.first)
        readers: list[Any] = [work.model.get_submodule(name) for name in pair.readers]
        if not all(nn.is_linear(layer, "float32") for layer in (before, *readers)):
            continue
        weight = np.concatenate([layer.weight for layer in readers])
        inputs = weight.shape[1]
        try:
            scale = equalizing_scale(before.weight[pair.outputs(inputs)], weight)
        except ValueError as error:
            names = " and ".join(map(repr, (pair.first, *pair.readers)))
            raise ValueError(f"layers {names}: {error}") from None
        alike = pair.alike(inputs)
        fold_pair(work, pair, scale if alike is None else geometric_means(scale, alike))
