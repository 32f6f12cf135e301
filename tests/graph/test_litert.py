# SPDX-License-Identifier: Apache-2.0
"""Every operator gives what LiteRT gives for the same file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graph_cases import CASES, WEIGHTED, build, of_dynamic_range, of_uint8, sample
from graph_rows import ROWS, SINGLE, Row, graph_of
from graphs import F32, I8
from octavo import tflite
from octavo.graph import Graph, Session, infer_shapes
from octavo.graph.kinds import KINDS

interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
pytest.importorskip("flatbuffers", reason="needs flatbuffers")


def litert(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Return what LiteRT's own kernels make of a graph."""
    for tensor, shape in zip(graph.tensors, infer_shapes(graph), strict=True):
        tensor.shape = shape
    kernels = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    run = interpreter.Interpreter(
        model_content=tflite.to_bytes(graph), experimental_op_resolver_type=kernels
    )
    run.allocate_tensors()
    for detail, array in zip(run.get_input_details(), inputs, strict=True):
        run.set_tensor(detail["index"], array)
    run.invoke()
    return [run.get_tensor(detail["index"]) for detail in run.get_output_details()]


def compare(graph: Graph, inputs: list[np.ndarray], tolerance: float = 1e-6) -> None:
    wanted = litert(graph, inputs)
    found = Session(graph)(*inputs)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        if one.dtype.name in {"int8", "uint8"}:
            assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize(("row", "t"), SINGLE, ids=[f"{row.kind}-{t}" for row, t in SINGLE])
def test_operators(row: Row, t: str) -> None:
    graph = graph_of(row, t)
    inputs = sample(graph)
    if row.positive:
        inputs = [np.abs(x) + np.array(1, x.dtype) for x in inputs]
    if t == "i":
        inputs = [x % 100 for x in inputs]
    compare(graph, inputs)


@pytest.mark.parametrize("t", [F32, I8], ids=str)
@pytest.mark.parametrize("name", list(CASES))
def test_graphs(name: str, t: Any) -> None:
    graph = build(name, t)
    compare(graph, sample(graph))


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("point", [0, 7, 128, 255])
def test_uint8(kind: str, point: int) -> None:
    graph = of_uint8(kind, point)
    compare(graph, sample(graph))


@pytest.mark.parametrize("kind", WEIGHTED)
def test_dynamic_range(kind: str) -> None:
    """Both quantize the input on the way, each in its manner."""
    graph = of_dynamic_range(kind)
    (largest,) = (np.abs(one).max() for one in Session(graph)(*sample(graph)))
    compare(graph, sample(graph), 0.03 * largest)


def test_every_kind_is_compared() -> None:
    tried = {row.kind for row in ROWS}
    for name in CASES:
        tried |= {one.kind for one in build(name, F32).operators}
    assert set(KINDS) - tried == set()
