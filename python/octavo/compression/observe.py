# SPDX-License-Identifier: Apache-2.0
"""The stage that finds static scales: one pass of calibration data through the float model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo import nn
from octavo.compression.names import Names
from octavo.compression.ranges import InputRanges
from octavo.compression.watch import watched
from octavo.observers import OBSERVERS

if TYPE_CHECKING:
    from octavo.compression.watch import Float32
    from octavo.compression.work import Work
    from octavo.observers import Observer

__all__ = ["make_observer", "observe"]

DEFAULT = "mse"
"""The nearest to the float model; docs/guides/ptq.md has the comparison."""


def make_observer(kind: str | None, name: str) -> Observer:
    """Return a new observer of a recipe's kind; None stands for the default."""
    return OBSERVERS[kind or DEFAULT](name=name)


def observe(work: Work) -> None:
    """Fill `input_scale` and `input_zero_point` of the layers that a recipe makes static.

    Parameters
    ----------
    work : Work
        Its model is as it will be before weights are quantized.

    Raises
    ------
    ValueError
        If a layer's input is not finite, or the data never reached it; the message names it.
    """
    quantize = work.recipe.quantize
    if quantize.activations != "static":
        return
    names = _static_layers(work)
    ranges = InputRanges(lambda name: make_observer(quantize.observer, name))
    mask: Any = None

    def see(name: str, x: Float32, _: Float32 | None) -> None:
        ranges.see(name, x, mask, work.plans[name].factors(x.shape[-1]))

    model = watched(work.model, names, see)
    total = work.batches.known_length
    for index, batch in enumerate(work.batches):
        work.say("observing activations", index / total if total else 0.0)
        mask = batch.mask
        hidden = model.forward(batch.ids, batch.mask, batch.types)
        for _, head in model.heads():
            head(hidden)
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


def _static_layers(work: Work) -> list[str]:
    quantize = work.recipe.quantize
    dynamic = Names(quantize.dynamic, "quantize.dynamic", "float linear layers")
    kept = Names(quantize.exclude, "quantize.exclude", "layers")
    names = [
        name
        for name, layer in work.model.named_modules()
        if isinstance(layer, nn.FloatLinear)
        and name not in dynamic
        and name not in kept
        and (name not in work.plans or work.plans[name].dtype in (None, "int8"))
    ]
    dynamic.check()
    return names
