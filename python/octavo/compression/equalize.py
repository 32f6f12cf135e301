# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalization as a stage; it needs no data."""

from __future__ import annotations

from octavo import nn
from octavo.algorithms.smoothing import equalizing_scale
from octavo.compression.smooth import fold_pair
from octavo.compression.work import Work


def equalize(work: Work) -> None:
    """Even out the channels between each pair of layers that allows it, if the recipe says so."""
    if not work.recipe.quantize.equalize:
        return
    for pair in work.model.pairs():
        before, after = (work.model.get_submodule(name) for name in (pair.first, pair.second))
        if not nn.is_linear(before, "float32") or not nn.is_linear(after, "float32"):
            continue
        rows = slice(pair.start, pair.start + after.in_features)
        try:
            scale = equalizing_scale(before.weight[rows], after.weight)
        except ValueError as error:
            raise ValueError(f"layers {pair.first!r} and {pair.second!r}: {error}") from None
        fold_pair(work, pair, scale)
