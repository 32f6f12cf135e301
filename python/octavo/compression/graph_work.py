# SPDX-License-Identifier: Apache-2.0
"""A graph on its way to a small one: prepared once, then made with some operators kept in float."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from octavo._types import Array
from octavo.algorithms.observers import Observer
from octavo.compression.graph_bias import MeanInputs, corrected_biases, with_biases
from octavo.compression.graph_data import Feeds
from octavo.compression.graph_equalize import equalized
from octavo.compression.graph_fuse import fused
from octavo.compression.graph_rounding import InputMoments
from octavo.compression.graph_rules import FLOAT, RULES, integer_operators, name_of, weight_of
from octavo.compression.graph_run import Exposed, Feed
from octavo.compression.graph_scales import observed, scales_of
from octavo.compression.graph_static import Types, quantized
from octavo.compression.graph_weights import Codes, dynamic_operators, dynamic_range, half_precision
from octavo.compression.name_patterns import NamePatterns
from octavo.compression.observe import make_observer
from octavo.compression.recipe import Quantize
from octavo.compression.sensitivity import LayerSensitivity, Sensitivity, agreement
from octavo.compression.work import Progress
from octavo.graph import Graph, Operator, Session

MOST_CALLS = 16
"""Of more calibration data a sample is run for each operator whose sensitivity is measured."""


class GraphWork:
    """A float graph, its calibration data, and what they say; `made` returns small graphs.

    These are candidates for `octavo.compression.target.meet`.

    Parameters
    ----------
    graph : Graph
        Float; left as it is.
    quantize : Quantize
        With no field that graphs do not have.
    feeds : Feeds, optional
    progress : callable
        Gets what is going on and the share that is done.
    types : (input type, output type)
        Of the float inputs and outputs of a graph with static scales.

    Attributes
    ----------
    graph : Graph
        What is quantized: with the same tensors as the given one, but those that were fused away.
    left_out : dict of str to str
        Operators that equalization left out, and why.
    """

    keep = "float32"

    def __init__(
        self,
        graph: Graph,
        quantize: Quantize,
        feeds: Feeds | None,
        progress: Progress,
        types: Types = (FLOAT, FLOAT),
    ) -> None:
        self._quantize, self._feeds, self._progress, self._types = quantize, feeds, progress, types
        self.graph, self.left_out = fused(graph), dict[str, str]()
        if quantize.equalize:
            self.graph, self.left_out = equalized(self.graph)
        if quantize.correct_bias:
            self.graph = with_biases(self.graph)
        patterns = NamePatterns(quantize.exclude, "quantize.exclude", "operators")
        names = (name_of(self.graph, one) for one in self.graph.operators)
        self._excluded = frozenset(name for name in names if name in patterns)
        patterns.check()
        self._observers: dict[int, Observer] = {}
        self._biases: dict[int, Array] = {}
        self._rounded: dict[int, Codes] = {}
        self._reference: list[Array] = []
        if quantize.needs_data:
            self._look()

    def progress(self, text: str, share: float) -> None:
        """Tell what is going on and the share that is done."""
        self._progress(text, share)

    def made(self, kept: Iterable[str] = ()) -> Graph:
        """Return the small graph; operators of these names stay float."""
        names = self._excluded.union(kept)
        if self._quantize.dtype == "float16":
            return half_precision(self.graph, names)
        if self._quantize.activations == "dynamic":
            chosen = dynamic_operators(self.graph, names)
            return dynamic_range(self.graph, chosen, self._biases, self._rounded)
        integer = integer_operators(self.graph, names)
        scales = scales_of(self.graph, integer, self._observers, self._observer)
        return quantized(self.graph, integer, scales, self._biases, self._rounded, self._types)

    def measured(self, made: Graph, metric: str) -> float:
        """Return what a small graph reaches by "cosine" or "sqnr", in its worst output."""
        cosine, _, sqnr = self._agreement(made, 1)
        return cosine if metric == "cosine" else sqnr

    def for_callable(self, made: Graph) -> Session:
        """Return what a metric of the user's gets of a small graph."""
        return Session(made)

    def ranked(self) -> list[str]:
        """Return the names of operators, the most sensitive first."""
        return [row.name for row in self.sensitivity()]

    def sensitivity(self) -> Sensitivity:
        """Measure the graph with one operator at a time quantized, on a sample of the data."""
        if self._quantize.activations == "dynamic":
            chosen = dynamic_operators(self.graph, self._excluded)
        else:
            chosen = integer_operators(self.graph, self._excluded)
        operators = [self.graph.operators[index] for index in sorted(chosen)]
        layers = {name_of(self.graph, one): one for one in operators if _computes(one)}
        step = -(-len(self._wanted()[0]) // MOST_CALLS)
        rows = []
        for index, (name, operator) in enumerate(layers.items()):
            self.progress(f"measuring {name} alone", index / len(layers))
            found = self._agreement(self.made(layers.keys() - {name}), step)
            weight = weight_of(self.graph, operator)
            size = 0 if weight < 0 else math.prod(self.graph.tensors[weight].shape)
            rows.append(LayerSensitivity(name, operator.kind, *found, 4 * size, size))
        return Sensitivity(rows)

    def _observer(self, name: str) -> Observer:
        return make_observer(self._quantize.observer, name)

    def _look(self) -> None:
        """Run the float graph over the data once."""
        means = MeanInputs(self.graph) if self._quantize.correct_bias else None
        moments = (
            InputMoments(self.graph, self._quantize.correct_bias)
            if self._quantize.rounding == "gptq"
            else None
        )
        also = [one for one in (means, moments) if one is not None]
        self._observers = observed(self.graph, self._read(), self._observer, also)
        if moments is not None:
            self.progress("rounding weights", 0.5)
            self._rounded = moments.rounded(self._quantize.damping)
        if means is not None:
            self._biases = corrected_biases(self.graph, means, self._rounded)

    def _read(self) -> Iterator[Feed]:
        """Yield the calibration data of a pass."""
        assert self._feeds is not None
        for index, feed in enumerate(self._feeds):
            self.progress(f"input {index + 1}", 0.0)
            yield feed

    def _wanted(self) -> list[Array]:
        """Return the outputs of the float graph, with a row for each call."""
        if not self._reference:
            self._reference = self._outputs(self.graph, 1)
            if not all(np.isfinite(rows).all() for rows in self._reference):
                raise ValueError(
                    "model: expected finite outputs on the calibration data, got NaN or infinity"
                )
        return self._reference

    def _outputs(self, graph: Graph, step: int) -> list[Array]:
        run = Exposed(graph, graph.outputs)
        calls = [run(feed) for index, feed in enumerate(self._read()) if index % step == 0]
        return [np.stack([call[index].reshape(-1) for call in calls]) for index in graph.outputs]

    def _agreement(self, made: Graph, step: int) -> tuple[float, float, float]:
        """Return the agreement of the output that comes out worst."""
        pairs = zip(self._wanted(), self._outputs(made, step), strict=True)
        found = [agreement(wanted[::step], got) for wanted, got in pairs]
        return min(found, key=lambda one: one[2])


def _computes(operator: Operator) -> bool:
    return not RULES[operator.kind].keeps_scale
