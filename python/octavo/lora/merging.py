# SPDX-License-Identifier: Apache-2.0
"""An ordinary model of a base and an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from octavo import nn
from octavo.lora.adapter import Adapter
from octavo.lora.fitting import fitting_modules, fitting_pairs
from octavo.lora.heads import NoHead, take_heads
from octavo.lora.layer import base_of
from octavo.models.encoder import Encoder
from octavo.models.tree import map_layers
from octavo.qtensor import quantize

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from octavo.lora.low_rank import LowRank

__all__ = ["merge", "rounding_error", "with_weight"]

Array = NDArray[Any]


def merge(
    model: Encoder,
    adapter: str | os.PathLike[str] | Adapter,
    *,
    on_layer: Callable[[str, float], None] | None = None,
) -> Encoder:
    """Add an adapter to the weights of a model.

    Float layers take the sum.  Int8 layers are dequantized, changed and quantized anew, with a
    scale per output channel; layers that hold only their non-zero weights become dense, for the sum
    has no zeros.  A classification head of the adapter becomes the model's.

    Parameters
    ----------
    model : Encoder
        Left as it is, its own adapters too; layers that do not change are shared.
    adapter : Adapter, or path of its folder
    on_layer : callable, optional
        Called with each changed layer's name and what its rounding lost: the norm of the error over
        the norm of the float sum, 0 for float layers.

    Returns
    -------
    Encoder
        Without adapters.

    Raises
    ------
    TypeError
        If `model` is no encoder.
    ValueError
        If the adapter is of another base, or its sum with the base is not finite.

    Examples
    --------
    >>> import octavo
    >>> octavo.lora.merge("some/folder", "some/adapter")
    Traceback (most recent call last):
    ...
    TypeError: model: expected an octavo.models encoder, got str
    """
    if not isinstance(model, Encoder):
        raise TypeError(f"model: expected an octavo.models encoder, got {type(model).__name__}")
    source = adapter if isinstance(adapter, Adapter) else Adapter.load(adapter)
    pairs, versions = fitting_pairs(model, source), fitting_modules(model, source)

    def transform(name: str, layer: nn.Module) -> nn.Module:
        base = base_of(layer)
        if name in pairs:
            base, error = _merged(name, base, pairs[name])
            if on_layer is not None:
                on_layer(name, error)
        return versions.get(name, base)

    made = map_layers(model, transform)
    for name in [name for name, layer in made.named_children() if isinstance(layer, NoHead)]:
        setattr(made, name, None)
    made._adapters = None
    take_heads(made, versions)
    return made


def rounding_error(weight: Array) -> float:
    """Return what int8 loses of a float weight: norm of the error over norm of the weight."""
    q = quantize(weight, axis=0)
    return _relative(weight, q.dequantize())


def _merged(name: str, layer: Any, side: LowRank) -> tuple[nn.Module, float]:
    layer = layer.merged()
    with np.errstate(all="ignore"):
        weight = layer.weight + side.delta()
        change, bias = side.bias_delta(), layer.bias
        if change is not None:
            bias = change if bias is None else bias + change
    if not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
        raise ValueError(f"layer {name!r}: expected finite weights with the adapter, got infinity")
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
