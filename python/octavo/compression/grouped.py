# SPDX-License-Identifier: Apache-2.0
"""What becomes of a layer whose weight has a scale for each group of inputs."""

from __future__ import annotations

from typing import Any

from octavo import nn
from octavo.algorithms.rounding import nearest_groups
from octavo.compression.int8 import int8_layer
from octavo.compression.plan import LayerPlan
from octavo.models.config import OUTPUT_LAYERS
from octavo.nn.weights import weight_class


def grouped_layer(name: str, layer: nn.Module, plan: LayerPlan) -> nn.Module:
    """Return a float linear layer or table in groups; of others what int8 makes of them.

    A plan may have codes; else they are rounded to nearest, by scales that are searched for.
    """
    is_held = nn.is_linear(layer, "float32") or nn.is_embedding(layer, "float32")
    if not is_held or name in OUTPUT_LAYERS:
        return int8_layer(name, layer)
    assert plan.group is not None
    held: Any = layer
    kind: Any = weight_class(plan.dtype)
    codes, scale = plan.codes, plan.scale
    try:
        if codes is None or scale is None:
            codes, scale = nearest_groups(held.weight, plan.group, plan.bits)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    weight = kind.from_quantized(codes, scale, group=plan.group)
    if nn.is_embedding(layer):
        return nn.Embedding.of(weight)
    bias = held.bias if plan.bias is None else plan.bias
    return held.replace(weight=weight, bias=None if bias is None else bias.copy())
