# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights take another form by that form's own rounding, as in "fp16" and "bf16"."""

from __future__ import annotations

from octavo import nn
from octavo.compression.int8 import own_norm
from octavo.nn.weights import weight_class


def plain_layer(name: str, layer: nn.Module, kind: str) -> nn.Module:
    """Return a float leaf with its weight of another kind; errors say `name`.

    Biases and norms stay float32: together they are about a thousandth of a model, and each is
    added to or multiplied with everything that passes.
    """
    try:
        if nn.is_linear(layer, "float32"):
            bias = None if layer.bias is None else layer.bias.copy()
            return layer.replace(weight=weight_class(kind).from_float(layer.weight), bias=bias)
        if nn.is_embedding(layer, "float32"):
            return nn.Embedding.from_float(layer.weight, kind=kind)
        if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
            return own_norm(layer)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    return layer
