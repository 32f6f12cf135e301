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
    for first, second in work.model.pairs():
        before, after = (work.model.get_submodule(name) for name in (first, second))
        if not nn.is_linear(before, "float32") or not nn.is_linear(after, "float32"):
            continue
        try:
            scale = equalizing_scale(before.weight, after.weight)
        except ValueError as error:
            raise ValueError(f"layers {first!r} and {second!r}: {error}") from None
        fold_pair(work, first, second, scale)
