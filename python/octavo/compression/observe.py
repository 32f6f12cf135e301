# SPDX-License-Identifier: Apache-2.0
"""The stage that finds static scales: one pass of calibration data through the float model."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo._types import Float32
from octavo.algorithms.observers import OBSERVERS, Observer
from octavo.compression.inputs import run_with_heads
from octavo.compression.ranges import InputObservers
from octavo.compression.work import Work
from octavo.nn import hooks

DEFAULT = "mse"
"""The nearest to the float model; docs/guides/ptq.md has the comparison."""


def make_observer(kind: str | None, name: str) -> Observer:
    """Return a new observer of a recipe's kind; None stands for the default."""
    return OBSERVERS[kind or DEFAULT](name=name)


def observe(work: Work) -> None:
    """Fill `input_scale` and `input_zero_point` of the layers that a recipe makes static."""
    quantize = work.recipe.quantize
    if quantize.activations != "static":
        return
    names = [name for name in work.quantized_linears() if work.plans[name].static]
    ranges = InputObservers(lambda name: make_observer(quantize.observer, name))
    mask: Any = None

    factors = {name: _factor(work, name) for name in names}

    def see(name: str, x: Float32, _: Float32 | None) -> None:
        ranges.see(name, x, mask, factors[name])

    total = work.batches.known_length
    with hooks.watching(work.model, names, see):
        for index, batch in enumerate(work.batches):
            work.progress("observing activations", index / total if total else 0.0)
            mask = batch.mask
            run_with_heads(work.model, batch)
            ranges.forget()
    for name in names:
        if name not in ranges.observers:
            raise ValueError(
                f"layer {name!r}: the calibration data never reached it; list it under "
                "quantize.dynamic or quantize.exclude"
            )
        plan = work.plans[name]
        found = ranges.observers[name].scale_zero_point(quantize.symmetric)
        plan.input_scale, plan.input_zero_point = found


def _factor(work: Work, name: str) -> Float32 | None:
    """Return what a layer multiplies its input by before quantizing it; 0 for outliers."""
    plan, layer = work.plans[name], work.linear(name)
    multiplier = layer.input_multiplier
    if not plan.has_outliers:
        return multiplier
    factor = np.ones(layer.in_features, np.float32)
    if multiplier is not None:
        factor *= multiplier
    factor[plan.outliers] = 0
    return factor
