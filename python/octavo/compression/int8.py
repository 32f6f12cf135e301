# SPDX-License-Identifier: Apache-2.0
"""The "int8" recipe: what becomes of each kind of layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo.algorithms.rounding import nearest_rows
from octavo.compression.plan import LayerPlan
from octavo.models.config import OUTPUT_LAYERS
from octavo.nn.weights import Weight

_BLOCK_ELEMENTS = 1 << 18


def int8_layer(name: str, layer: nn.Module, plan: LayerPlan | None = None) -> nn.Module:
    """Return the int8 form of a float leaf; other layers are copied, and errors say `name`.

    The few weights that give a classifier's logits stay float32: nothing comes after them that
    could even out an error. A plan may have codes, if they are not to be rounded to nearest; of a
    linear layer it also says how inputs are quantized, which columns are outliers, and whether
    zeros are left out.
    """
    plan = plan or LayerPlan()
    try:
        if nn.is_linear(layer, "float32"):
            if name in OUTPUT_LAYERS:
                state = {key: _own(key, value) for key, value in layer.state_dict().items()}
                return nn.FloatLinear.from_state_dict(state, **layer.config())
            return _linear(layer, plan)
        if nn.is_embedding(layer, "float32"):
            return nn.Embedding.from_quantized(*_codes(layer.held_weight, plan))
        if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
            return own_norm(layer)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    return layer


def _linear(layer: nn.Linear, plan: LayerPlan) -> nn.Linear:
    bias = None if layer.bias is None else _own("bias", layer.bias)
    options: dict[str, Any] = {
        "activation": layer.activation,
        "symmetric": plan.symmetric,
        "input_multiplier": layer.input_multiplier,
        "input_scale": plan.input_scale,
        "input_zero_point": plan.input_zero_point,
        "format": "auto" if plan.pruned else None,
    }
    has_codes = plan.codes is not None and plan.scale is not None
    if has_codes and plan.bias is not None:
        bias = plan.bias
    if not plan.has_outliers:
        return nn.Linear.from_quantized(*_codes(layer.held_weight, plan), bias, **options)
    options["outlier_columns"] = plan.outliers
    if has_codes:
        codes = _codes(layer.held_weight, plan)
        return nn.OutlierLinear.from_quantized(*codes, bias, **options)
    return nn.OutlierLinear.from_float(layer.weight, bias, **options)


def _codes(weight: Weight, plan: LayerPlan) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return the codes and scales that a plan has, or the nearest."""
    if plan.codes is not None and plan.scale is not None:
        return plan.codes, plan.scale
    return _quantize_rows(weight, plan.bits)


def own_norm(layer: nn.LayerNorm | nn.RMSNorm) -> nn.LayerNorm | nn.RMSNorm:
    """Return a copy, which shares nothing with the float model; refuse NaN and infinity."""
    state = {key: _own(key, value) for key, value in layer.state_dict().items()}
    return type(layer).from_state_dict(state, **layer.config())


def _quantize_rows(
    weight: Weight, bits: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize each row symmetrically, some rows at a time.

    What this needs besides the codes stays small, also for a vocabulary's table.
    """
    rows, columns = weight.shape
    codes = np.empty((rows, columns), np.int8)
    scale = np.empty(rows, np.float32)
    step = max(1, _BLOCK_ELEMENTS // max(1, columns))
    for start in range(0, rows, step):
        block = weight.rows(start, start + step)
        _require_finite("weight", block)
        codes[start : start + step], scale[start : start + step] = nearest_rows(block, bits)
    return codes, scale


def _own(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy, which shares nothing with the float model; refuse NaN and infinity."""
    _require_finite(name, values)
    return np.array(values)


def _require_finite(name: str, values: npt.NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
