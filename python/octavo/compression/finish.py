# SPDX-License-Identifier: Apache-2.0
"""The last stage: each float layer becomes what the recipe and the stages before want it to be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from octavo import nn
from octavo.compression.int8 import int8_layer
from octavo.compression.name_patterns import NamePatterns
from octavo.compression.plain import plain_layer
from octavo.compression.share import Sharing
from octavo.compression.work import LayerPlan
from octavo.models.config import OUTPUT_LAYER
from octavo.nn.tree import map_layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.compression.recipe import Recipe
    from octavo.compression.work import Work
    from octavo.models.encoder import Encoder

__all__ = ["Finish", "Forms"]


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
        self._kept = NamePatterns(recipe.quantize.exclude, "quantize.exclude", "layers")
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

    def pruned(self, name: str, layer: nn.Linear) -> nn.Module:
        """Convert a layer whose zeros are to be made use of."""
        return self(name, layer, LayerPlan(pruned=True))

    def check(self) -> None:
        """Raise if the recipe names layers that were never met."""
        self._kept.check()
        self._sharing.check()

    def becomes_int8(self, name: str, layer: nn.Module, plan: LayerPlan | None = None) -> bool:
        """Whether this is a linear layer whose weight will be int8."""
        dtype = self._dtype(name, plan or LayerPlan())
        return dtype == "int8" and nn.is_linear(layer, "float32") and name != OUTPUT_LAYER

    def is_quantized(self, name: str, layer: nn.Module, plan: LayerPlan | None = None) -> bool:
        """Whether this is a layer with weights that the recipe does not keep as it is."""
        dtype = self._dtype(name, plan or LayerPlan())
        kept = ("none", self._recipe.quantize.keep)
        is_float = layer.kind == "float32"
        return dtype not in kept and is_float and name != OUTPUT_LAYER

    def clusters(self, name: str, layer: nn.Module) -> int | None:
        """Return how many codes a layer may have, if the recipe limits them."""
        return self._sharing.clusters(name, layer)

    def _dtype(self, name: str, plan: LayerPlan) -> str:
        quantize = self._recipe.quantize
        return plan.dtype or (quantize.keep if name in self._kept else quantize.dtype)

    def _bits(self, layer: nn.Module) -> int:
        quantize = self._recipe.quantize
        if nn.is_embedding(layer, "float32") and quantize.embedding_bits is not None:
            return quantize.embedding_bits
        return quantize.bits

    def _converted(self, name: str, layer: nn.Module, plan: LayerPlan) -> nn.Module:
        dtype = self._dtype(name, plan)
        if dtype == "int8":
            symmetric, bits = self._recipe.quantize.symmetric, self._bits(layer)
            plan = self._sharing(name, layer, plan)
            return int8_layer(name, layer, plan=plan, symmetric=symmetric, bits=bits)
        # A float layer does without the multiplier that was made for int8.
        merged = layer.merged() if nn.is_linear(layer) else layer
        return merged if dtype in ("none", "float32") else plain_layer(name, merged, dtype)


class Forms:
    """The final forms of a work's layers, each made once, and models of them.

    Parameters
    ----------
    work : Work
        Whose plans are filled in.
    finish : Finish
    """

    def __init__(self, work: Work, finish: Finish) -> None:
        self._work, self._finish = work, finish
        self.keep = work.recipe.quantize.keep
        self._silent = Finish(work.recipe, None)
        self._made: dict[tuple[str, bool], nn.Module] = {}

    def quantized(self, name: str, layer: nn.Module) -> nn.Module:
        """Return the final form of a layer; the layer itself if it is not quantized."""
        if not self._finish.is_quantized(name, layer, self._work.plans.get(name)):
            return layer
        return self._form(name, layer, kept=False)

    def model(self, kept: frozenset[str] = frozenset()) -> Encoder:
        """Return the finished model, with some layers kept as `Quantize.keep` says."""
        return map_layers(
            self._work.model, lambda name, layer: self._form(name, layer, name in kept)
        )

    def _form(self, name: str, layer: nn.Module, kept: bool) -> nn.Module:
        key = name, kept
        if key not in self._made:
            plan = self._work.plans.get(name) or LayerPlan()
            if kept:
                self._made[key] = self._silent(name, layer, replace(plan, dtype=self.keep))
            else:
                self._made[key] = self._finish(name, layer, plan)
        return self._made[key]
