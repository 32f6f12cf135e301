# SPDX-License-Identifier: Apache-2.0
"""Bias correction as a stage: layer after layer, on the finished model."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo import nn
from octavo._types import Float32
from octavo.algorithms.smoothing import MeanError
from octavo.compression.ranges import token_rows
from octavo.compression.recipe import IN_GROUPS
from octavo.compression.work import Work
from octavo.data.batches import Batch
from octavo.models.encoder import Encoder
from octavo.nn import hooks
from octavo.nn.tree import map_layers

Calls = list[tuple[Any, ...]]
"""What a block is called with, batch by batch."""


def correct_biases(work: Work, finished: Encoder) -> Encoder:
    """Return a copy of a finished model with biases that leave no mean error, if a recipe says so.

    In the order of the layers: what a layer gets comes through the finished layers before it, their
    biases corrected; what it should give is what the original float model has in its place, before
    any pruning. Where a residual is added to a layer's result, the residual's mean error is made up
    for too. Rows of padding do not count.
    """
    if not work.recipe.quantize.correct_bias:
        return finished
    made = map_layers(finished, lambda _, layer: layer)
    batches, original = list(work.batches), work.original
    masks = [batch.mask for batch in batches]
    hidden = [made.embed(batch.ids, batch.types) for batch in batches]
    goals = [original.embed(batch.ids, batch.types) for batch in batches]
    blocks = made.blocks()
    for index, (name, block) in enumerate(blocks):
        goal = original.get_submodule(name)
        inputs = list(map(made.block_inputs, hidden, masks))
        wanted = list(map(original.block_inputs, goals, masks))
        paths = _in_order(block, inputs[0])
        means = _Means(goal, paths, wanted, batches)
        for path in paths:
            work.progress(f"correcting the bias of {name}.{path}", index / len(blocks))
            scale = work.plans[f"{name}.{path}"].output_scale
            try:
                bias = _corrected(block, path, inputs, batches, means.output(path, scale))
            except ValueError as problem:
                raise ValueError(f"layer '{name}.{path}': calibration: {problem}") from None
            layer: Any = block.get_submodule(path)
            block.set_submodule(path, layer.replace(bias=bias))
        hidden = [block(*one) for one in inputs]
        goals = [goal(*one) for one in wanted]
    return made


def _in_order(block: nn.Module, one: tuple[Any, ...]) -> list[str]:
    """List the quantized layers of a block in the order of their calls."""
    kinds = "int8", *IN_GROUPS
    paths = [path for path, layer in block.named_modules() if nn.is_linear(layer, *kinds)]
    seen: list[str] = []
    with hooks.watching(block, paths, lambda path, _, __: seen.append(path)):
        block(*one)
    return seen


class _Means:
    """Mean outputs of the float layers of a block: those of the mean inputs."""

    def __init__(
        self, block: nn.Module, paths: list[str], calls: Calls, batches: list[Batch]
    ) -> None:
        self._block = block
        rows = sum(int(batch.mask.sum()) for batch in batches)
        self._x: dict[str, Any] = dict.fromkeys(paths, 0.0)
        self._residual: dict[str, Any] = dict.fromkeys(paths, 0.0)
        for one, batch in zip(calls, batches, strict=True):

            def see(path: str, x: Float32, residual: Float32 | None, batch: Batch = batch) -> None:
                self._x[path] += token_rows(x, batch.mask).sum(axis=0, dtype=np.float64) / rows
                if residual is not None:
                    added = token_rows(residual, batch.mask).sum(axis=0, dtype=np.float64)
                    self._residual[path] += added / rows

            with hooks.watching(block, paths, see):
                block(*one)

    def output(self, path: str, scale: Float32 | None) -> Float32:
        """Return the mean before the activation, over `scale`; without one, with the residual."""
        layer: Any = self._block.get_submodule(path)
        weight = layer.merged().weight
        mean = weight @ self._x[path]
        if layer.bias is not None:
            mean = mean + layer.bias
        if scale is not None:
            mean = mean / scale
        if layer.activation == "none":
            mean = mean + self._residual[path]
        return mean.astype(np.float32)


def _corrected(
    block: nn.Module, path: str, calls: Calls, batches: list[Batch], wanted: Float32
) -> Float32:
    """Return the bias with which a layer's outputs have the wanted mean."""
    layer: Any = block.get_submodule(path)
    linear = layer.replace(activation="none")
    error = MeanError(layer.out_features)
    for one, batch in zip(calls, batches, strict=True):

        def see(_: str, x: Float32, residual: Float32 | None, batch: Batch = batch) -> None:
            added = None
            if residual is not None and layer.activation == "none":
                added = token_rows(residual, batch.mask)
            y = linear(token_rows(x, batch.mask), added)
            # Sums of differences are differences of sums: the mean stands for each row.
            error.update(y, np.broadcast_to(wanted, y.shape))
            raise hooks.Reached

        with hooks.watching(block, [path], see):
            block(*one)
    return error.corrected(layer.bias)
