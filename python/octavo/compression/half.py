# SPDX-License-Identifier: Apache-2.0
"""The "fp16" and "bf16" recipes: what becomes of each kind of layer."""

from __future__ import annotations

from octavo import nn
from octavo.compression.int8 import own_norm
from octavo.nn._half_weight import to_half

__all__ = ["half_layer"]


def half_layer(name: str, layer: nn.Module, dtype: str) -> nn.Module:
    """Return a float layer with its weight in 16 bits.

    Biases and norms stay float32: together they are about a thousandth of a model, and each is
    added to or multiplied with everything that passes.

    Parameters
    ----------
    name : str
        The layer's name, for error messages.
    layer : Module
        Any leaf of a model.
    dtype : "float16" or "bfloat16"
    """
    try:
        if isinstance(layer, nn.FloatLinear):
            weight = to_half(layer.weight, dtype, "weight")
            bias = None if layer.bias is None else layer.bias.copy()
            return nn.HalfLinear(weight, bias, layer.activation)
        if isinstance(layer, nn.FloatEmbedding):
            return nn.HalfEmbedding(to_half(layer.weight, dtype, "weight"))
        if isinstance(layer, nn.LayerNorm):
            return own_norm(layer)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    return layer
