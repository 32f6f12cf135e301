# SPDX-License-Identifier: Apache-2.0
"""Scale migration as a stage: layers get an input multiplier, or the layer before them takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo import nn
from octavo._types import Float32
from octavo.algorithms.smoothing import InputRanges, best_multiplier, fold, outlier_columns
from octavo.algorithms.smoothing.migrate import smoothing_multiplier
from octavo.compression.inputs import see_inputs
from octavo.compression.sequential import require_finite
from octavo.compression.work import Work
from octavo.models.specs import Pair


def smooth(work: Work) -> None:
    """Move scale from what int8 layers read to their weights, if the recipe says so.

    With ``smooth: auto`` each layer gets the multiplier with which its own int8 output comes
    closest to the float one on the calibration data; with a number, SmoothQuant's with that alpha.
    Where the layer before lets it (`Encoder.pairs`), the multiplier goes into that layer's weight,
    and costs nothing; elsewhere the layer itself has it.
    """
    wanted = work.recipe.quantize.smooth
    if wanted is None:
        return
    ranges = _ranges(work)
    found: dict[str, Float32] = {}
    for index, (name, inputs) in enumerate(ranges.items()):
        work.progress(f"smoothing {name}", (1 + index / len(ranges)) / 2)
        multiplier = _multiplier(work, name, inputs)
        if multiplier is not None:
            found[name] = multiplier
    for pair in work.model.pairs():
        if pair.second in found:
            fold_pair(work, pair, np.reciprocal(found.pop(pair.second)))
    for name, multiplier in found.items():
        layer = work.linear(name)
        weight = layer.held_weight.like(layer.weight / multiplier)
        work.replace(name, layer.replace(weight=weight, input_multiplier=multiplier))


def fold_pair(work: Work, pair: Pair, scale: Float32) -> None:
    """Divide what one of a pair gives by a scale; make up for it in the other."""
    before: Any = work.model.get_submodule(pair.first)
    after = work.model.get_submodule(pair.second)
    if not nn.is_linear(after, "float32"):
        return
    rows = slice(pair.start, pair.start + after.in_features)
    if before.role == "layer_norm":
        bias = None if before.bias is None else before.bias / scale
        work.replace(pair.first, nn.LayerNorm(before.weight / scale, bias, before.eps))
        read = after.weight * scale
    elif nn.is_linear(before, "float32"):
        weight = before.weight.copy()
        bias = None if before.bias is None else before.bias.copy()
        part = None if bias is None else bias[rows]
        weight[rows], part, read = fold(weight[rows], part, after.weight, scale)
        if bias is not None:
            bias[rows] = part
        work.replace(pair.first, before.replace(weight=before.held_weight.like(weight), bias=bias))
        plan = work.plans[pair.first]
        whole = np.ones(before.out_features, np.float32)
        whole[rows] = scale
        plan.output_scale = whole if plan.output_scale is None else plan.output_scale * whole
    else:
        return
    work.replace(pair.second, after.replace(weight=after.held_weight.like(read)))


def _ranges(work: Work) -> dict[str, InputRanges]:
    """Look at what the layers read that will be int8."""
    layers = {name: work.linear(name) for name in work.int8_linears()}
    ranges = {
        name: InputRanges(layer.in_features, seed=work.recipe.seed)
        for name, layer in layers.items()
    }
    for name, layer in layers.items():
        require_finite(name, layer)

    def see(name: str, x: Float32, _: Float32 | None) -> None:
        ranges[name].update(x)

    see_inputs(
        work.model,
        work.batches,
        ranges,
        see,
        lambda share: work.progress("looking at inputs", share / 2),
    )
    return ranges


def _multiplier(work: Work, name: str, inputs: InputRanges) -> NDArray[np.float32] | None:
    quantize = work.recipe.quantize
    layer = work.model.get_submodule(name)
    assert nn.is_linear(layer, "float32")
    try:
        if quantize.smooth == "auto":
            return best_multiplier(
                layer.weight,
                inputs,
                symmetric=quantize.symmetric,
                static=quantize.activations == "static",
                bits=quantize.bits,
            )
        assert isinstance(quantize.smooth, (int, float))
        return smoothing_multiplier(layer.weight, inputs, quantize.smooth)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None


def find_outliers(work: Work) -> None:
    """Note which columns of each int8 layer's input reach the recipe's threshold.

    After smoothing: what counts is what the layer quantizes.
    """
    threshold = work.recipe.quantize.outliers
    if threshold is None:
        return
    for name, inputs in _ranges(work).items():
        multiplier = work.linear(name).input_multiplier
        if multiplier is not None:
            inputs.scale(multiplier)
        work.plans[name].outliers = outlier_columns(inputs, threshold)
