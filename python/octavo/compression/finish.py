# SPDX-License-Identifier: Apache-2.0
"""The last stage: each float layer becomes what the recipe and the stages before want it to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo import nn
from octavo.compression.half import half_layer
from octavo.compression.int8 import int8_layer, pruned_int8_layer
from octavo.compression.names import Names
from octavo.compression.share import Sharing
from octavo.compression.work import LayerPlan
from octavo.nn.half import DTYPES as HALVES

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.compression.recipe import Recipe

__all__ = ["Finish"]


class Finish:
    """``finish(name, layer)``: the final form of a layer.

    Parameters
    ----------
    recipe : Recipe
        Resolved.
    on_layer : callable, optional
        Called with each layer's name after it was converted.
    """

    def __init__(self, recipe: Recipe, on_layer: Callable[[str], None] | None) -> None:
        self._recipe = recipe
        self._on_layer = on_layer
        self._kept = Names(recipe.quantize.exclude, "quantize.exclude", "layers")
        self._sharing = Sharing(recipe.share)

    def __call__(self, name: str, layer: nn.Module, plan: LayerPlan | None = None) -> nn.Module:
        """Convert a layer.

        Parameters
        ----------
        name : str
        layer : Module
            Any leaf of a model; what is not float keeps its form.
        plan : LayerPlan, optional
            What is known of it.
        """
        made = self._converted(name, layer, plan or LayerPlan())
        if self._on_layer is not None:
            self._on_layer(name)
        return made

    def pruned(self, name: str, layer: nn.FloatLinear) -> nn.Module:
        """Convert a layer whose zeros are to be made use of."""
        return self(name, layer, LayerPlan(pruned=True))

    def check(self) -> None:
        """Raise if the recipe names layers that were never met."""
        self._kept.check()
        self._sharing.check()

    def _converted(self, name: str, layer: nn.Module, plan: LayerPlan) -> nn.Module:
        quantize = self._recipe.quantize
        dtype = plan.dtype or (quantize.keep if name in self._kept else quantize.dtype)
        if dtype == "int8":
            shared = self._sharing(name, layer, plan.pruned)
            if shared is not None:
                return shared
            if plan.pruned and isinstance(layer, nn.FloatLinear):
                return pruned_int8_layer(name, layer)
            return int8_layer(name, layer)
        if dtype in HALVES:
            return half_layer(name, layer, dtype)
        return layer
