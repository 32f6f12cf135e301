# SPDX-License-Identifier: Apache-2.0
"""What each layer will be: written down first, completed by the stages, carried out at the end."""

from __future__ import annotations

from dataclasses import dataclass

from octavo import nn
from octavo._types import Array
from octavo.compression.name_patterns import NamePatterns
from octavo.compression.recipe import IN_GROUPS, Recipe
from octavo.models.config import HEADS, OUTPUT_LAYERS
from octavo.nn.weights import GROUPS

LAST = "lm_head"
"""The layer that gives a decoder's logits: as large as its table of tokens, and treated like it."""


@dataclass
class LayerPlan:
    """What one layer will be.

    Attributes
    ----------
    dtype : str
        The kind of its weight; "none" and "float32" leave a float layer as it is.
    bits : int
        Of codes.
    group : int, optional
        How many inputs share a scale, if the kind of weight has groups.
    symmetric : bool
        Whether it quantizes what it reads symmetrically.
    pruned : bool
        Whether it loses weights first; its zeros are made use of then.
    quantizes_input : bool
        Whether this is a linear layer whose weight becomes codes, beside quantized activations.
    static : bool
        Whether it quantizes its input with a fixed scale.
    clusters : int, optional
        How many codes it may have.
    output_scale : float32 array, shape (N,), optional
        Found: weight and bias were divided by it, and the next layer makes up for that.
    input_scale, input_zero_point : float, int, optional
        Found: static quantization of what the layer reads, after its multiplier.
    outliers : int array, optional
        Found: columns that are computed in float.
    codes, scale : int8 array, shape (N, K), and float array, shape (N,) or (N, groups), optional
        Found: the quantized weight, if not rounded to nearest.
    bias : float32 array, shape (N,), optional
        Found: goes with the codes, in place of the layer's own.
    """

    dtype: str = "int8"
    bits: int = 8
    group: int | None = None
    symmetric: bool = False
    pruned: bool = False
    quantizes_input: bool = False
    static: bool = False
    clusters: int | None = None
    output_scale: Array | None = None
    input_scale: float | None = None
    input_zero_point: int = 0
    outliers: Array | None = None
    codes: Array | None = None
    scale: Array | None = None
    bias: Array | None = None

    @property
    def has_outliers(self) -> bool:
        """Whether some columns are computed in float."""
        return self.outliers is not None and self.outliers.size > 0


class Planner:
    """``planner(name, layer)``: what a resolved recipe wants a layer to be.

    It remembers which of the names that the recipe lists it met.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        quantize, prune, share = recipe.quantize, recipe.prune, recipe.share
        linears, tables = "float linear layers", "linear layers or embeddings"
        self._kept = NamePatterns(quantize.exclude, "quantize.exclude", "layers")
        self._dynamic = NamePatterns(quantize.dynamic, "quantize.dynamic", linears)
        self._unpruned = NamePatterns(prune.exclude if prune else (), "prune.exclude", linears)
        self._unshared = NamePatterns(share.exclude if share else (), "share.exclude", tables)
        self._prunes_some = False

    def __call__(self, name: str, layer: nn.Module) -> LayerPlan:
        """Return a new plan; a layer that is not float keeps its form, whatever the plan says."""
        quantize = self._recipe.quantize
        plan = LayerPlan(
            quantize.keep if name in self._kept else quantize.dtype,
            bits=quantize.bits,
            symmetric=quantize.symmetric,
        )
        if plan.dtype in IN_GROUPS:
            bits = IN_GROUPS[plan.dtype]
            is_table = name == LAST or not nn.is_linear(layer)
            if is_table and (quantize.embedding_bits or 8) != bits:
                plan.dtype = "int8"
            else:
                plan.bits, plan.group = bits, quantize.group or GROUPS[0]
        if layer.kind != "float32":
            return plan
        if nn.is_linear(layer):
            plan.pruned = self._prunes(name)
            plan.static = name not in self._dynamic and quantize.activations == "static"
            is_quantized = plan.dtype == "int8" or plan.group is not None
            plan.quantizes_input = is_quantized and name not in OUTPUT_LAYERS
        elif plan.dtype == "int8" and quantize.embedding_bits is not None:
            plan.bits = quantize.embedding_bits
        share = self._recipe.share
        if share is not None and plan.dtype == "int8" and name not in OUTPUT_LAYERS:
            clusters = share.clusters if nn.is_linear(layer) else share.embedding_clusters
            plan.clusters = None if name in self._unshared else clusters
        return plan

    def _prunes(self, name: str) -> bool:
        if self._recipe.prune is None or name == LAST or f"{name}.".startswith(HEADS):
            return False
        is_chosen = name not in self._unpruned
        self._prunes_some |= is_chosen
        return is_chosen

    def check(self) -> None:
        """Raise if the recipe names layers that were never met, or there was nothing to prune."""
        for patterns in (self._kept, self._unshared, self._unpruned, self._dynamic):
            patterns.check()
        if self._recipe.prune is not None and not self._prunes_some:
            raise ValueError("model: expected float linear layers to prune, got none")
