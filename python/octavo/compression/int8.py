# SPDX-License-Identifier: Apache-2.0
"""The "int8" recipe: what becomes of each kind of layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo.compression.work import LayerPlan
from octavo.models.encoder import OUTPUT_LAYER
from octavo.rounding import nearest_rows

__all__ = ["int8_layer", "own_norm", "pruned_int8_layer"]

_BLOCK_ELEMENTS = 1 << 18


def int8_layer(
    name: str,
    layer: nn.Module,
    linear: type[nn.Linear] = nn.Linear,
    plan: LayerPlan | None = None,
    symmetric: bool = False,
    bits: int = 8,
) -> nn.Module:
    """Return the int8 form of a float layer; other layers lose only their hold on a mapped file.

    The few weights that give a classifier's logits stay float32: nothing comes after them that
    could even out an error.

    Parameters
    ----------
    name : str
        The layer's name, for error messages.
    layer : Module
        Any leaf of a model.
    linear : type
        What a linear layer becomes.
    plan : LayerPlan, optional
        Its codes if they are not to be rounded to nearest; of a linear layer also how it quantizes
        what it reads, and its outlier columns.
    symmetric : bool
        Whether a linear layer quantizes what it reads symmetrically.
    bits : int
        Of codes that are rounded to nearest.
    """
    try:
        if isinstance(layer, nn.FloatLinear):
            if name == OUTPUT_LAYER:
                state = {key: _own(key, value) for key, value in layer.state_dict().items()}
                return nn.FloatLinear.from_state_dict(state, **layer.config())
            bias = None if layer.bias is None else _own("bias", layer.bias)
            plan = plan or LayerPlan()
            options: dict[str, Any] = {
                "activation": layer.activation,
                "symmetric": symmetric,
                "input_multiplier": layer.input_multiplier,
                "input_scale": plan.input_scale,
                "input_zero_point": plan.input_zero_point,
            }
            if plan.outliers is not None and plan.outliers.size:
                linear = nn.OutlierLinear
                options["outlier_columns"] = plan.outliers
            if plan.codes is not None and plan.scale is not None:
                bias = bias if plan.bias is None else plan.bias
                return linear.from_quantized(plan.codes, plan.scale, bias, **options)
            if linear is nn.OutlierLinear:
                return linear.from_float(layer.weight, bias, **options)
            codes, scale = _quantize_rows(layer.weight, bits)
            return linear.from_quantized(codes, scale, bias, **options)
        if isinstance(layer, nn.FloatEmbedding):
            if plan is not None and plan.codes is not None and plan.scale is not None:
                return nn.Embedding.from_quantized(plan.codes, plan.scale)
            return nn.Embedding.from_quantized(*_quantize_rows(layer.weight, bits))
        if isinstance(layer, nn.LayerNorm):
            return own_norm(layer)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    return layer


def own_norm(layer: nn.LayerNorm) -> nn.LayerNorm:
    """Return a copy, so that the float file's mapping can go away; refuse NaN and infinity."""
    state = {key: _own(key, value) for key, value in layer.state_dict().items()}
    return nn.LayerNorm.from_state_dict(state, **layer.config())


def pruned_int8_layer(
    name: str,
    layer: nn.FloatLinear,
    plan: LayerPlan | None = None,
    symmetric: bool = False,
    bits: int = 8,
) -> nn.Module:
    """Return the int8 form of a pruned layer: its zeros stay zeros, and are not held.

    The one place where a pruned float layer becomes what runs.
    """
    return int8_layer(name, layer, nn.SparseLinear, plan, symmetric, bits)


def _quantize_rows(
    weight: npt.NDArray[np.float32], bits: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize each row symmetrically, some rows at a time.

    What this needs besides the codes stays small, also for a vocabulary's table.
    """
    rows, columns = weight.shape
    codes = np.empty((rows, columns), np.int8)
    scale = np.empty(rows, np.float32)
    step = max(1, _BLOCK_ELEMENTS // max(1, columns))
    for start in range(0, rows, step):
        block = weight[start : start + step]
        _require_finite("weight", block)
        codes[start : start + step], scale[start : start + step] = nearest_rows(block, bits)
    return codes, scale


def _own(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy, so that the float file's mapping can go away; refuse NaN and infinity."""
    _require_finite(name, values)
    return np.array(values)


def _require_finite(name: str, values: npt.NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
