# SPDX-License-Identifier: Apache-2.0
"""Bias correction as a stage: layer after layer, on the finished model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn
from octavo.compression.inputs import token_rows
from octavo.compression.watch import Float32, Reached, watch
from octavo.models.tree import map_layers
from octavo.smoothing import MeanError

if TYPE_CHECKING:
    from octavo.compression.calibration import Batch
    from octavo.compression.work import Work
    from octavo.models.encoder import Encoder

__all__ = ["correct_biases"]

Seen = tuple[Float32, "Float32 | None"]


def correct_biases(work: Work, finished: Encoder) -> Encoder:
    """Return the finished model with biases that leave no mean error, if the recipe says so.

    In the order of the layers: what a layer gets comes through the finished layers before it, their
    biases corrected; what it should give is what the original float model has in its place, before
    any pruning. Where a residual is added to a layer's result, the residual's mean error is made up
    for too. Rows of padding do not count.

    Parameters
    ----------
    work : Work
    finished : Encoder
        Of final layers.
    """
    if not work.recipe.quantize.correct_bias:
        return finished
    made = map_layers(finished, lambda _, layer: layer)
    batches, original = work.batches, map_layers(work.original, lambda _, layer: layer)
    hidden = [made.embed(batch.ids, batch.types) for batch in batches]
    goals = [original.embed(batch.ids, batch.types) for batch in batches]
    blocks = made.blocks()
    for index, (name, block) in enumerate(blocks):
        work.say(f"correcting biases of {name}", index / len(blocks))
        goal = original.get_submodule(name)
        inputs = [(one, batch.mask) for one, batch in zip(hidden, batches, strict=True)]
        wanted = [(one, batch.mask) for one, batch in zip(goals, batches, strict=True)]
        for path in _in_order(block, inputs[0]):
            error = _error(work, f"{name}.{path}", block, goal, inputs, wanted)
            layer: Any = block.get_submodule(path)
            block.set_submodule(path, _with_bias(layer, error.corrected(layer.bias)))
        hidden = [block(*one) for one in inputs]
        goals = [goal(*one) for one in wanted]
    return made


def _in_order(block: nn.Module, one: tuple[Any, ...]) -> list[str]:
    """List the int8 layers of a block in the order of their calls."""
    paths = [path for path, layer in block.named_modules() if isinstance(layer, nn.Linear)]
    seen: list[str] = []
    watch(block, paths, one, lambda path, _, __: seen.append(path))
    return seen


def _error(
    work: Work,
    name: str,
    block: nn.Module,
    goal: nn.Module,
    inputs: list[tuple[Any, ...]],
    wanted: list[tuple[Any, ...]],
) -> MeanError:
    path = next(p for p, _ in block.named_modules() if p and name.endswith(f".{p}"))
    layer: Any = block.get_submodule(path)
    ideal: Any = goal.get_submodule(path)
    linear = _with_bias(layer, layer.bias, activation="none")
    exact = nn.FloatLinear(ideal.weight, ideal.bias, input_multiplier=ideal.input_multiplier)
    scale = work.plans[name].output_scale
    error = MeanError(layer.out_features)
    for batch, now, then in zip(work.batches, inputs, wanted, strict=True):
        x, added = _seen(block, path, now, batch)
        x_goal, added_goal = _seen(goal, path, then, batch)
        target = exact(x_goal)
        if scale is not None:
            target /= scale
        if layer.activation == "none" and added is not None and added_goal is not None:
            target += added_goal - added
        try:
            error.update(linear(x), target)
        except ValueError as problem:
            raise ValueError(f"layer {name!r}: calibration: {problem}") from None
    return error


def _seen(module: nn.Module, path: str, one: tuple[Any, ...], batch: Batch) -> Seen:
    """Return what a layer reads and the residual added to its result; rows of tokens only."""
    found: list[Seen] = []

    def see(_: str, x: Float32, residual: Float32 | None) -> None:
        rest = None if residual is None else token_rows(residual, batch)
        found.append((np.ascontiguousarray(token_rows(x, batch)), rest))
        raise Reached

    watch(module, [path], one, see)
    return found[0]


def _with_bias(layer: nn.Linear, bias: Any, activation: str | None = None) -> nn.Linear:
    """Return the same layer with another bias, and perhaps another activation."""
    state = layer.state_dict()
    if bias is not None:
        state["bias"] = np.asarray(bias)
    config = layer.config()
    if activation is not None:
        config["activation"] = activation
    return type(layer).from_state_dict(state, **config)
