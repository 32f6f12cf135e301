# SPDX-License-Identifier: Apache-2.0
"""Converting modules that are no encoders."""

from __future__ import annotations

import copy

from octavo import nn
from octavo._float_mode import in_default_mode
from octavo.compression.calibration_context import Calibration, freeze
from octavo.compression.materialize import materialized
from octavo.compression.plan import Planner
from octavo.compression.recipe import Recipe
from octavo.data.calls import calls_of
from octavo.data.sources import CalibrationData
from octavo.nn.tree import map_layers


@in_default_mode
def converted_module(model: nn.Module, recipe: Recipe, data: CalibrationData | None) -> nn.Module:
    """Convert a module that is no encoder."""
    quantize = recipe.quantize
    static = {"activations", "observer", "symmetric", "dynamic"}
    if recipe.prune or recipe.share or set(quantize.to_dict()) - static != {"dtype"}:
        raise ValueError(
            "optimizations: a module that is no encoder becomes int8, dynamic or static, or gets "
            f"weights of another kind; got {recipe.to_dict()}"
        )
    resolved = recipe.resolved(data is not None)
    if not resolved.needs_data:
        if data is not None:
            raise ValueError("calibration: expected none, this recipe does not use any")
        return materialized(model, Planner(resolved))
    # Copies of the layers: watching changes them for a while.
    twin = map_layers(
        model, lambda _, layer: copy.copy(layer) if nn.is_linear(layer, "float32") else layer
    )
    calibration = Calibration(
        twin,
        observer=quantize.observer,
        symmetric=quantize.symmetric,
        dynamic=quantize.dynamic,
    )
    with calibration:
        for call in calls_of(data):
            call.make(twin)
    return freeze(twin, calibration)
