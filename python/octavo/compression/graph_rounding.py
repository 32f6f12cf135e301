# SPDX-License-Identifier: Apache-2.0
"""GPTQ of graphs: weights rounded so that errors make up for each other on the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo._types import Array, Float64
from octavo.algorithms.rounding import gptq
from octavo.compression.graph_rules import RULES, weight_of
from octavo.compression.graph_weights import Codes, channel_rows, codes_of_rows, finite
from octavo.graph import Graph, Operator

_TOGETHER = 2048
_ROWS = 96
"""Of what an operator reads in a call, so many places are looked at."""


class _Moments:
    """Sums over rows, and over products of their elements; many rows at a time."""

    def __init__(self, width: int) -> None:
        self._waiting: list[Array] = []
        self._count, self._sum = 0, np.zeros(width)
        self._products = np.zeros((width, width))

    def update(self, rows: Array) -> None:
        """Take in rows."""
        self._waiting.append(rows)
        if len(rows) * len(self._waiting) >= _TOGETHER:
            self._add()

    def spread(self, centered: bool) -> Float64:
        """Return the mean of the products, of differences to the mean row if `centered`."""
        self._add()
        mean = self._sum / self._count if centered else np.zeros_like(self._sum)
        return self._products / self._count - np.outer(mean, mean)

    def _add(self) -> None:
        if self._waiting:
            rows = np.concatenate(self._waiting).astype(np.float64)
            self._count += len(rows)
            self._sum += rows.sum(axis=0)
            self._products += rows.T @ rows
            self._waiting = []


class InputMoments:
    """Moments of what weights are multiplied by.

    Parameters
    ----------
    graph : Graph
        Its convolutions without groups and fully connected layers count; the few weights of a
        depthwise filter have hardly others to make up for them.
    centered : bool
        Whether errors of the mean do not count, as biases make up for them.
    """

    def __init__(self, graph: Graph, centered: bool) -> None:
        self._graph, self._centered = graph, centered
        self._rng = np.random.default_rng(0)
        self._seen = {
            place: _Moments(math.prod(graph.tensors[index].shape[1:]))
            for place, one in enumerate(graph.operators)
            if (index := weight_of(graph, one)) >= 0 and _is_plain(graph, one)
        }

    def __call__(self, values: Mapping[int, Array]) -> None:
        """Take in the tensors of one call."""
        for place, moments in self._seen.items():
            moments.update(self._rows(self._graph.operators[place], values))

    def rounded(self, damping: float | None) -> dict[int, Codes]:
        """Return the codes of the weights, by the places of their operators."""
        found = {}
        for place, moments in self._seen.items():
            operator = self._graph.operators[place]
            weight = finite(self._graph, weight_of(self._graph, operator))
            axis = RULES[operator.kind].axis
            rows = channel_rows(weight, axis)
            how: dict[str, Any] = {"scale": "max"}
            if damping is not None:
                how["damping"] = damping
            codes, scale = gptq(rows, moments.spread(self._centered), **how)
            found[place] = codes_of_rows(codes, scale, weight.shape, axis)
        return found

    def _rows(self, operator: Operator, values: Mapping[int, Array]) -> Array:
        """Return what outputs are made of, (rows, inputs)."""
        x = values[operator.inputs[0]]
        if operator.kind == "fully_connected":
            width = self._graph.tensors[operator.inputs[1]].shape[1]
            return x.reshape(-1, width)
        _, height, width, _ = self._graph.tensors[operator.outputs[0]].shape
        kernel = self._graph.tensors[operator.inputs[1]].shape[1:3]
        at = self._rng.integers(0, (len(x), height, width), (_ROWS, 3))
        down, across = (
            _taps(at[:, 1 + i], x.shape[1 + i], (height, width)[i], kernel[i], operator, "hw"[i])
            for i in range(2)
        )
        pad = [(0, 0), *(((1, 1),) * 2), (0, 0)]  # what lies outside is a zero before or behind
        taken = np.pad(x, pad)[at[:, 0, None, None], down[:, :, None], across[:, None, :]]
        rows = taken.reshape(_ROWS, kernel[0] * kernel[1], -1)
        return rows.reshape(_ROWS, -1)


def _taps(at: Array, size: int, outputs: int, kernel: int, operator: Operator, axis: str) -> Array:
    """Return which inputs of one axis, counted from 1, outputs are made of; 0 where none is."""
    stride = operator.options.get(f"stride_{axis}", 1)
    dilation = operator.options.get(f"dilation_{axis}_factor", 1)
    reach = (kernel - 1) * dilation + 1
    total = max((outputs - 1) * stride + reach - size, 0)
    before = total // 2 if operator.options.get("padding") == "same" else 0
    inputs = at[:, None] * stride - before + np.arange(kernel) * dilation
    return np.where((inputs >= 0) & (inputs < size), inputs + 1, 0)


def _is_plain(graph: Graph, operator: Operator) -> bool:
    """Whether an operator has no groups of channels."""
    if operator.kind == "conv_2d":
        channels = graph.tensors[operator.inputs[0]].shape[-1]
        return graph.tensors[operator.inputs[1]].shape[-1] == channels
    return operator.kind == "fully_connected"
