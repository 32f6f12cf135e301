# SPDX-License-Identifier: Apache-2.0
"""Rounding by data as a stage: in the order of the layers, each on the inputs that it gets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from octavo import functional, nn
from octavo._types import Float32
from octavo.algorithms import pruning
from octavo.algorithms.pruning import InputHessian, InputNorms, OutputFit
from octavo.algorithms.pruning.arguments import DAMPING
from octavo.algorithms.rounding import dequantized, gptq, nearest_groups, rounded_inputs
from octavo.algorithms.sharing import share
from octavo.compression.plan import LayerPlan
from octavo.compression.sequential import Statistics, fit_in_order
from octavo.compression.work import Work

AIM = "model"


def round_weights(work: Work) -> None:
    """Fill in codes, scales and biases where the recipe asks for GPTQ, or weighs errors.

    Each layer is rounded with what comes through the layers before it, these quantized already.
    With GPTQ it aims at what the float model has in its place, the residual connection included, so
    that a layer makes up for the errors before it; a bias is fitted too. Zeros of pruned layers
    stay.
    """
    if work.recipe.quantize.rounding in ("weighted", "gptq"):
        fit_in_order(work.model, work.batches, _Rounder(work), work.progress)


class _Rounder:
    """Rounding as a `Fitter`."""

    doing = "rounding"

    def __init__(self, work: Work) -> None:
        quantize = work.recipe.quantize
        self.aim = AIM if quantize.rounding == "gptq" else None
        self._work, self._plans = work, work.plans
        self._damping = DAMPING if quantize.damping is None else quantize.damping

    def chosen(self, name: str, _: nn.Module) -> bool:
        return name in self._plans and self._plans[name].quantizes_input

    def statistics(self, layers: Sequence[nn.Linear]) -> Statistics:
        width = layers[0].in_features
        if self.aim is None:
            return InputNorms(width)
        if self.aim == "layer":
            return InputHessian(width)
        return self._work.output_fit(layers)

    def reading(self, name: str) -> Hashable:
        plan = self._plans[name]
        arrays = self._multiplier(name), plan.outliers
        parts = [None if array is None else array.tobytes() for array in arrays]
        of_codes = plan.input_scale, plan.input_zero_point, plan.group
        return *parts, *of_codes, self._work.has_bias(self._work.linear(name))

    def scaled(self, name: str, x: Float32) -> Float32:
        multiplier = self._multiplier(name)
        return x if multiplier is None else x * multiplier

    def reads(self, name: str, x: Float32) -> Float32:
        """Return the input as the layer will see it: quantized, but for outlier columns."""
        plan = self._plans[name]
        rows = self.scaled(name, x)
        if plan.group is not None:
            return rounded_inputs(rows, plan.group)
        floats = np.array([], np.intp) if plan.outliers is None else plan.outliers
        rest = np.array(rows, order="C")
        rest[:, floats] = 0
        if plan.input_scale is None:
            codes, scale, point = functional.quantize_dynamic(rest, symmetric=plan.symmetric)
            exact: Float32 = (codes - point[:, None].astype(np.float32)) * scale[:, None]
        else:
            step, zero = plan.input_scale, plan.input_zero_point
            codes = functional.quantize_linear(rest, step, zero)
            exact = functional.dequantize_linear(codes, step, zero)
        exact[:, floats] = rows[:, floats]
        return exact

    def fit(self, name: str, layer: nn.Linear, statistics: Statistics) -> nn.Module:
        plan = self._plans[name]
        try:
            _fill(plan, layer, statistics, self._damping)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        if statistics.is_silent:
            self._work.silent.add(name)
        return self.materialize(name, layer)

    def materialize(self, name: str, layer: nn.Module) -> nn.Module:
        return self._work.forms.form(name, layer)

    def _multiplier(self, name: str) -> Float32 | None:
        return self._work.linear(name).input_multiplier


def _fill(plan: LayerPlan, layer: nn.Linear, statistics: Statistics, damping: float) -> None:
    """Write codes, scales and perhaps a bias into a plan."""
    weight = np.asarray(layer.weight)
    if isinstance(statistics, InputNorms):
        assert plan.group is not None
        importance = np.square(statistics.norms()) / statistics.rows
        plan.codes, plan.scale = nearest_groups(
            weight, plan.group, plan.bits, importance=importance
        )
        return
    mask = weight != 0 if plan.pruned else None
    if isinstance(statistics, OutputFit):
        target, hessian = statistics.solve(weight, damping)
        if mask is not None:
            target = pruning.refit(target, hessian, mask, damping=damping)
    else:
        target, hessian = weight.astype(np.float64), statistics.matrix()
    options: dict[str, Any] = {"damping": damping, "mask": mask, "group": plan.group}
    # With scales of their own, groups lose less so (SmolLM2, and no more in all-MiniLM-L6-v2).
    options["by_activation"] = plan.group is not None
    if plan.clusters is not None:
        _, options["scale"], options["codebook"] = share(target, plan.clusters)
    codes, scale = gptq(target, hessian, plan.bits, **options)
    plan.codes, plan.scale = codes, scale
    if isinstance(statistics, OutputFit):
        rounded = dequantized(codes, scale, plan.group)
        bias = statistics.bias(rounded)
        plan.bias = None if bias is None else bias.astype(np.float32)
