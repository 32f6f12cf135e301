# SPDX-License-Identifier: Apache-2.0
"""Scale migration as a stage: layers get an input multiplier, or the layer before them takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from octavo import nn
from octavo._types import Float32
from octavo.algorithms.smoothing import InputRanges, best_multiplier, outlier_columns
from octavo.algorithms.smoothing.migrate import smoothing_multiplier
from octavo.compression.inputs import see_inputs
from octavo.compression.sequential import require_finite
from octavo.compression.work import Work
from octavo.models.specs import Pair

NORMS = ("layer_norm", "rms_norm")


def smooth(work: Work) -> None:
    """Move scale from what quantized layers read to their weights, if the recipe says so.

    With ``smooth: auto`` a layer gets the multiplier with which its own output comes closest
    to the float one on the calibration data; with a number, SmoothQuant's with that alpha. Where
    the layer before lets it (`Encoder.pairs`), the multiplier goes into that layer's weight, is one
    for all layers that read the same, and costs nothing; elsewhere the layer itself has it.
    """
    if work.recipe.quantize.smooth is None:
        return
    ranges = _ranges(work, work.quantized_linears())
    pairs = [pair for pair in work.model.pairs() if _can_fold(work, pair, ranges)]
    behind = {name for pair in pairs for name in pair.readers}
    steps: list[tuple[tuple[str, ...], Pair | None]] = [(pair.readers, pair) for pair in pairs]
    steps += [((name,), None) for name in ranges if name not in behind]
    found = []
    for index, (names, pair) in enumerate(steps):
        work.progress(f"smoothing {names[0]}", (1 + index / len(steps)) / 2)
        found.append(_multiplier(work, names, pair, ranges[names[0]]))
    for (names, pair), multiplier in zip(steps, found, strict=True):
        if multiplier is None:
            continue
        if pair is not None:
            fold_pair(work, pair, np.reciprocal(multiplier))
        else:
            layer = work.linear(names[0])
            weight = layer.held_weight.like(layer.weight / multiplier)
            work.replace(names[0], layer.replace(weight=weight, input_multiplier=multiplier))


def _can_fold(work: Work, pair: Pair, ranges: Mapping[str, InputRanges]) -> bool:
    """Whether a multiplier of what readers read, all quantized later, can go into `first`."""
    before = work.model.get_submodule(pair.first)
    is_float = before.role in NORMS or nn.is_linear(before, "float32")
    return is_float and all(name in ranges for name in pair.readers)


def fold_pair(work: Work, pair: Pair, scale: Float32) -> None:
    """Divide what the first of a pair gives by a scale, alike for equal outputs; make up for it."""
    before: Any = work.model.get_submodule(pair.first)
    readers: list[Any] = [work.model.get_submodule(name) for name in pair.readers]
    if before.role in NORMS:
        if before.role == "rms_norm":
            norm: nn.Module = nn.RMSNorm(before.weight / scale, before.eps)
        else:
            bias = None if before.bias is None else before.bias / scale
            norm = nn.LayerNorm(before.weight / scale, bias, before.eps)
        work.replace(pair.first, norm)
    else:
        whole = np.ones(before.out_features, np.float32)
        whole[pair.outputs(len(scale))] = scale
        weight = before.held_weight.like(before.weight / whole[:, None])
        bias = None if before.bias is None else before.bias / whole
        work.replace(pair.first, before.replace(weight=weight, bias=bias))
        plan = work.plans[pair.first]
        plan.output_scale = whole if plan.output_scale is None else plan.output_scale * whole
    for name, after in zip(pair.readers, readers, strict=True):
        weight = after.held_weight.like(after.weight * scale)
        work.replace(name, after.replace(weight=weight))


def _ranges(work: Work, names: Iterable[str]) -> dict[str, InputRanges]:
    """Look at what layers read."""
    layers = {name: work.linear(name) for name in names}
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


def _multiplier(
    work: Work, names: Sequence[str], pair: Pair | None, inputs: InputRanges
) -> Float32 | None:
    """Return what layers that read the same multiply it by."""
    quantize, plan = work.recipe.quantize, work.plans[names[0]]
    weight = np.concatenate([work.linear(name).weight for name in names])
    alike = None if pair is None else pair.alike(inputs.width)
    try:
        if quantize.smooth == "auto":
            return best_multiplier(
                weight,
                inputs,
                symmetric=quantize.symmetric,
                static=quantize.activations == "static",
                bits=plan.bits,
                group=plan.group,
                alike=alike,
            )
        assert isinstance(quantize.smooth, (int, float))
        return smoothing_multiplier(weight, inputs, quantize.smooth, alike=alike)
    except ValueError as error:
        raise ValueError(f"layer {names[0]!r}: {error}") from None


def find_outliers(work: Work) -> None:
    """Note which columns of each quantized layer's input reach the recipe's threshold.

    After smoothing: what counts is what the layer quantizes.
    """
    threshold = work.recipe.quantize.outliers
    if threshold is None:
        return
    for name, inputs in _ranges(work, work.quantized_linears()).items():
        multiplier = work.linear(name).input_multiplier
        if multiplier is not None:
            inputs.scale(multiplier)
        work.plans[name].outliers = outlier_columns(inputs, threshold)
