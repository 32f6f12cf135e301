# SPDX-License-Identifier: Apache-2.0
"""What makes quantized graphs better, and what tells where they are not good."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octavo
from graphs import Draft
from octavo.algorithms.measures import sqnr_db
from octavo.compression import TargetNotMetError, compare, sensitivity
from octavo.compression.graph_entry import compress_graph
from octavo.compression.graph_equalize import equalized
from octavo.graph import Graph, Session

CONV = {"padding": "same", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1}
CONV |= {"dilation_h_factor": 1, "fused_activation_function": "none"}
STATIC = {"activations": "static", "observer": "minmax"}


def chain(activation: str = "relu", spread: float = 30.0) -> Graph:
    """Return conv, depthwise conv, conv, whose channels have ranges that differ widely."""
    draft, rng = Draft(), np.random.default_rng(0)
    x = draft.input(1, 8, 8, 4)
    factors = np.geomspace(1 / spread, spread, 8).astype(np.float32)

    def constant(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32) / 3

    first = constant(8, 1, 1, 4) * factors[:, None, None, None]
    made = draft.op("conv_2d", x, draft.constant(first), draft.constant(factors / 9), **CONV)
    made = draft.op(activation, made)
    middle = draft.constant(constant(1, 3, 3, 8) / factors)
    options = CONV | {"depth_multiplier": 1}
    made = draft.op("depthwise_conv_2d", made, middle, draft.constant(constant(8)), **options)
    made = draft.op("relu", made)
    last = draft.constant(constant(6, 3, 3, 8))
    return draft.done(draft.op("conv_2d", made, last, draft.constant(constant(6)), **CONV))


def data_of(graph: Graph, count: int = 8) -> list[Any]:
    rng = np.random.default_rng(4)
    shape = graph.tensors[graph.inputs[0]].shape
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


def reached(graph: Graph, made: Graph, data: list[Any]) -> float:
    exact, small = Session(graph), Session(made)
    return sqnr_db(*(np.stack([run(x)[0] for x in data]) for run in (exact, small)))


def test_equalization() -> None:
    graph = chain()
    data = data_of(graph)
    even, left_out = equalized(octavo.compression.graph_fuse.fused(graph))
    assert left_out == {}
    assert reached(graph, even, data) > 100
    weights = [even.tensors[one.inputs[1]].data for one in even.operators]
    first = np.abs(weights[0]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(first, np.abs(weights[1]).max(axis=(0, 1, 2)), rtol=0.02)
    plain = octavo.compress(graph, {"quantize": STATIC}, calibration=data)
    better = octavo.compress(graph, {"quantize": {**STATIC, "equalize": True}}, calibration=data)
    assert reached(graph, better, data) > reached(graph, plain, data) + 6


def test_why_not_equalized() -> None:
    graph = chain("relu6")
    recipe = {"quantize": {**STATIC, "equalize": True}}
    _, applied = compress_graph(graph, recipe, data_of(graph))
    (reason,) = applied["not_equalized"].values()
    assert reason == "relu6 cuts at a value that would be another one in each channel"


def test_bias_correction() -> None:
    """With it, weights of few codes leave no mean error."""
    draft, rng = Draft(), np.random.default_rng(0)
    x = draft.input(1, 6, 6, 8)
    weight = rng.standard_normal((4, 3, 3, 8)).astype(np.float32)
    weight[:, 0, 0, 0] = 60  # leaves the others few codes
    graph = draft.done(draft.op("conv_2d", x, draft.constant(weight), **CONV))
    data = [np.abs(one) for one in data_of(graph, 32)]
    errors = []
    for correct_bias in (False, True):
        recipe = {"quantize": {**STATIC, "correct_bias": correct_bias}}
        made = Session(octavo.compress(graph, recipe, calibration=data))
        off = [made(one)[0] - Session(graph)(one)[0] for one in data]
        errors.append(np.abs(np.mean(off, axis=(0, 1, 2, 3))).max())
    assert errors[1] < errors[0] / 4


@pytest.mark.parametrize("kind", ["conv_2d", "fully_connected"])
@pytest.mark.parametrize("correct_bias", [False, True])
def test_gptq(kind: str, correct_bias: bool) -> None:
    """Errors of inputs that go together make up for each other."""
    draft, rng = Draft(), np.random.default_rng(0)
    shape = (1, 6, 6, 16) if kind == "conv_2d" else (36, 16)
    x = draft.input(*shape)
    weight = rng.standard_normal((4, 3, 3, 16) if kind == "conv_2d" else (4, 16))
    weight[..., 0] *= 30  # leaves the others few codes
    options = CONV | {"stride_w": 2} if kind == "conv_2d" else {}
    graph = draft.done(draft.op(kind, x, draft.constant(weight), **options))
    mixed = rng.standard_normal((4, 16))  # all inputs follow four numbers
    data = [
        (rng.standard_normal((*shape[:-1], 4)) @ mixed + 1).astype(np.float32) for _ in range(64)
    ]
    found = []
    for rounding in (None, "gptq"):
        fields = {"activations": "static", "correct_bias": correct_bias, "rounding": rounding}
        made = octavo.compress(graph, {"quantize": fields}, calibration=data)
        found.append(reached(graph, made, data))
    assert found[1] > found[0] + 1


def bad() -> Graph:
    """Return three layers, the second of which has a channel that leaves the others few codes."""
    draft, rng = Draft(), np.random.default_rng(1)
    made = draft.input(2, 16)
    for place in range(3):
        weight = rng.standard_normal((16, 16)).astype(np.float32) / 4
        made = draft.op("fully_connected", made, draft.constant(weight))
        if place == 1:
            gains = draft.constant(np.where(np.arange(16) == 3, 400.0, 1.0))
            made = draft.op("tanh", draft.op("div", draft.op("mul", made, gains), gains))
    return draft.done(made)


def test_the_bad_layer_is_found_and_kept() -> None:
    graph = bad()
    data = data_of(graph)
    recipe = {"quantize": {**STATIC}}
    table = sensitivity(graph, data, recipe)
    names = [row.name for row in table]
    assert table[0].sqnr_db < table[1].sqnr_db
    assert str(table).splitlines()[1].startswith(names[0])
    steps: list[str] = []
    plain = reached(graph, octavo.compress(graph, recipe, calibration=data), data)
    made, applied = compress_graph(
        graph,
        *(recipe, data, octavo.compression.Target("sqnr", plain + 3)),
        progress=lambda text, _: steps.append(text),
    )
    assert applied["target"]["kept"] == names[: len(applied["target"]["kept"])]
    assert applied["target"]["reached"] >= plain + 3
    assert reached(graph, made, data) >= plain + 2
    assert any(step.startswith("measuring") for step in steps)
    kept = octavo.compress(
        graph, recipe, calibration=data, target=(lambda run: float(isinstance(run, Session)), 1.0)
    )
    assert reached(graph, kept, data) == pytest.approx(plain)
    with pytest.raises(TargetNotMetError, match=r"at least 2, got at most 1, with 0 layers of \d"):
        octavo.compress(graph, recipe, calibration=data, target=(lambda _: 1.0, 2.0))


def test_comparison() -> None:
    graph = chain()
    data = data_of(graph)
    made = octavo.compress(graph, "int8-static", calibration=data)
    table = compare(graph, made, data)
    names = [graph.tensors[i].name for i in graph.inputs]
    names += [graph.tensors[one.outputs[0]].name for one in graph.operators]
    # Activations were fused: what came before them is gone.
    assert [row.name for row in table] == [names[0], names[2], names[4], names[5]]
    assert [row.dtype for row in table] == ["int8"] * 4
    assert table[0].sqnr_db > 30
    assert len(str(table).splitlines()) == 5
    assert all(row.sqnr_db == np.inf for row in compare(graph, graph, data))
    other = bad()
    with pytest.raises(
        ValueError, match="quantized: expected a graph with the inputs of the float"
    ):
        compare(graph, other, data)
