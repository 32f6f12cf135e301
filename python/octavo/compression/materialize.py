# SPDX-License-Identifier: Apache-2.0
"""The last stage: each float layer becomes what its plan says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from octavo import nn
from octavo.algorithms import sharing
from octavo.compression.grouped import grouped_layer
from octavo.compression.int8 import int8_layer
from octavo.compression.plain import plain_layer
from octavo.compression.plan import LayerPlan
from octavo.compression.recipe import Quantize
from octavo.models.config import OUTPUT_LAYERS
from octavo.models.decoder import Decoder
from octavo.models.encoder import Encoder
from octavo.nn.tree import map_layers

Model = TypeVar("Model", bound=nn.Module)


def materialize(name: str, layer: nn.Module, plan: LayerPlan) -> nn.Module:
    """Return the final form of a leaf of a model; what is not float keeps its form."""
    if plan.dtype == "int8":
        return int8_layer(name, layer, _with_shared_codes(name, layer, plan))
    if plan.group is not None:
        return grouped_layer(name, layer, plan)
    # A float layer does without the multiplier that was made for a quantized one.
    merged = layer.merged() if nn.is_linear(layer) else layer
    if plan.dtype in ("none", "float32"):
        return merged
    return plain_layer(name, merged, plan.dtype)


def materialized(model: Model, plan_of: Callable[[str, nn.Module], LayerPlan]) -> Model:
    """Return a copy of a model, each layer in the form that ``plan_of(name, layer)`` says."""
    return map_layers(model, lambda name, layer: materialize(name, layer, plan_of(name, layer)))


def _with_shared_codes(name: str, layer: nn.Module, plan: LayerPlan) -> LayerPlan:
    """Return a plan with few codes, if the layer shares and nothing has rounded it yet."""
    if plan.clusters is None or plan.codes is not None:
        return plan
    held: Any = layer
    weight = held.weight
    if plan.has_outliers:
        weight = np.array(weight)
        weight[:, plan.outliers] = 0
    try:
        shared = sharing.share(weight, plan.clusters)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    return replace(plan, codes=shared.codes, scale=shared.scale)


class Forms:
    """The final forms of a model's layers, each made once, and models of them.

    A layer's plan is complete when its form is first asked for; `on_layer` is then called with its
    name. What layers become that a target keeps, and how models attend, says `quantize`.
    """

    def __init__(
        self,
        plans: Mapping[str, LayerPlan],
        quantize: Quantize,
        on_layer: Callable[[str], None] | None,
    ) -> None:
        self.keep, self._quantize = quantize.keep, quantize
        self._plans, self._on_layer = plans, on_layer
        self._made: dict[tuple[str, bool], nn.Module] = {}

    def form(self, name: str, layer: nn.Module, kept: bool = False) -> nn.Module:
        """Return the final form of a layer, or what it is if it is kept."""
        key = name, kept
        if key not in self._made:
            plan = self._plans[name]
            if kept:
                plan = replace(plan, dtype=self.keep, group=None)
            self._made[key] = materialize(name, layer, plan)
            if self._on_layer is not None and not kept:
                self._on_layer(name)
        return self._made[key]

    def quantized(self, name: str, layer: nn.Module) -> nn.Module:
        """Return the final form of a layer; the layer itself if it is not quantized."""
        is_kept = self._plans[name].dtype in ("none", self.keep)
        if is_kept or layer.kind != "float32" or name in OUTPUT_LAYERS:
            return layer
        return self.form(name, layer)

    def model(self, model: Model, kept: frozenset[str] = frozenset()) -> Any:
        """Return a copy of a model in its final form, with some layers kept."""
        made: Any = map_layers(model, lambda name, layer: self.form(name, layer, name in kept))
        set_attention(made, self._quantize)
        return made


def set_attention(model: Encoder | Decoder, quantize: Quantize) -> None:
    """Have a model attend as a recipe says, or as it did if that leaves it open."""
    if quantize.attention != "auto":
        model.attention_precision = quantize.attention
