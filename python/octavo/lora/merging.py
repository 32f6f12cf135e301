# SPDX-License-Identifier: Apache-2.0
"""An ordinary model of a base and an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from octavo import nn
from octavo._text import shown
from octavo._types import Array
from octavo.lora.adapter import Adapter
from octavo.lora.fitting import fitting_modules, fitting_pairs
from octavo.lora.heads import NoHead, take_heads
from octavo.lora.layer import base_of
from octavo.lora.low_rank import LowRank
from octavo.nn.tree import map_layers

if TYPE_CHECKING:
    from octavo.lora.adapted import Adapted

Model = TypeVar("Model", bound="Adapted")


def merged(model: Model, adapter: Adapter, on_layer: Callable[[str, float], None] | None) -> Model:
    """Return a copy of a model with an adapter in its weights; see `octavo.lora.merge`."""
    pairs, versions = fitting_pairs(model, adapter), fitting_modules(model, adapter)

    def transform(name: str, layer: nn.Module) -> nn.Module:
        base = base_of(layer)
        if name in pairs:
            base, error = _merged(name, base, pairs[name])
            if on_layer is not None:
                on_layer(name, error)
        # A head where the model has none changes its config too: see `take_heads`.
        return base if isinstance(base, NoHead) else versions.get(name, base)

    made = map_layers(model, transform)
    for name in [name for name, layer in made.named_children() if isinstance(layer, NoHead)]:
        setattr(made, name, None)
    take_heads(made, versions, adapter.task)
    return made


def rounding_error(layer: nn.Linear, weight: Array) -> float:
    """Return what a layer loses of a weight that it takes: norm of the error over its norm."""
    return _relative(weight, with_weight(layer, weight, None).weight)


def _merged(name: str, layer: Any, side: LowRank) -> tuple[nn.Module, float]:
    layer = layer.merged()
    with np.errstate(all="ignore"):
        weight = layer.weight + side.delta()
        change, bias = side.bias_delta(), layer.bias
        if change is not None:
            bias = change if bias is None else bias + change
    if not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
        raise ValueError(
            f"layer {shown(name)}: expected finite weights with the adapter, got infinity"
        )
    made = with_weight(layer, weight, bias)
    return made, _relative(weight, made.weight) if layer.kind != "float32" else 0.0


def with_weight(layer: nn.Linear, weight: Array, bias: Array | None) -> nn.Linear:
    """Return a layer like `layer` with another weight and bias, dense."""
    multiplier, stored, side = None, weight, layer.side_path
    if layer.options.input_multiplier is not None:
        # A column that nothing was read of may be read of now.
        read: Any = layer.input_multiplier
        multiplier = np.where(read == 0, np.float32(1), read)
        stored = weight / multiplier
    if side is not None and side.columns is not None:
        stored = np.array(stored)
        stored[:, side.columns] = 0
        side = nn.SidePath([np.ascontiguousarray(weight[:, side.columns]).T], side.columns)
    held = layer.held_weight.like(stored)
    return layer.replace(weight=held, bias=bias, input_multiplier=multiplier, side_path=side)


def _relative(weight: Array, got: Array) -> float:
    norm = float(np.linalg.norm(weight))
    return float(np.linalg.norm(got - weight)) / norm if norm else 0.0
