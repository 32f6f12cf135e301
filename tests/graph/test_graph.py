# SPDX-License-Identifier: Apache-2.0
"""Graphs: what is one, in which order it runs, and the shapes that follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphs import F32, I8, I32, Draft
from octavo.graph import Graph, Operator, Quantization, Signature, Tensor, infer_shapes


def small() -> Graph:
    """A convolution of int8, then a sum over pixels."""
    draft = Draft()
    x = draft.input(1, 8, 8, 3, dtype=I8, q=(0.5, 3))
    scales = Quantization(np.full(4, 0.1, np.float32), np.zeros(4, np.int64), 0)
    weight = draft.constant(np.ones((4, 3, 3, 3), np.int8), scales)
    bias = draft.constant(np.zeros(4, np.int32))
    y = draft.op("conv_2d", x, weight, bias, q=(1.0, 0), padding="same", stride_w=2, stride_h=2)
    axes = draft.constant([1, 2])
    return draft.done(draft.op("mean", y, axes, q=(1.0, 0)))


def test_a_graph_is_one() -> None:
    graph = small()
    graph.check()
    assert infer_shapes(graph)[-1] == (1, 4)
    assert infer_shapes(graph, {0: (5, 9, 7, 3)})[3] == (5, 5, 4, 4)


def test_operators_come_after_what_they_read() -> None:
    graph = small()
    graph.operators.reverse()
    graph.check()
    assert graph.order() == [1, 0]


Change = Callable[[Graph], None]


def _tensor(index: int, **fields: Any) -> Change:
    return lambda graph: vars(graph.tensors[index]).update(fields)


def _operator(index: int, **fields: Any) -> Change:
    return lambda graph: vars(graph.operators[index]).update(fields)


def _options(**options: Any) -> Change:
    return lambda graph: graph.operators[0].options.update(options)


def _graph(**fields: Any) -> Change:
    return lambda graph: vars(graph).update(fields)


def _scale(value: float) -> Change:
    return _tensor(0, quantization=Quantization.per_tensor(value))


def _circle(graph: Graph) -> None:
    graph.tensors += [Tensor("a", (), F32), Tensor("b", (), F32)]
    graph.operators += [Operator("abs", (6,), (7,)), Operator("abs", (7,), (6,))]


def _made_twice(graph: Graph) -> None:
    graph.operators.append(Operator("relu", (0,), (3,)))


ALONG_3 = Quantization(np.ones(4, np.float32), np.zeros(4, np.int64), 3)

BROKEN: list[tuple[Change, str]] = [
    (_circle, r"operator 2 \('abs'\): it reads from itself"),
    (_made_twice, r"tensor 3 .*operator 2 .*made by operator 0"),
    (_scale(0.0), r"tensor 0 .*scale: expected positive"),
    (_scale(float("nan")), r"tensor 0 .*scale: expected positive"),
    (_tensor(0, quantization=None), r"operator 0 .*expected a quantization"),
    (_tensor(0, quantization=Quantization.per_tensor(1.0, 300)), "range of int8, got 300"),
    (_tensor(1, quantization=ALONG_3), r"tensor 1 .*each channel of axis 3"),
    (_tensor(1, data=np.ones((4, 3, 3, 2), np.int8)), r"tensor 1 .*expected data of int8"),
    (_tensor(0, shape=(1, 8, -1, 3)), "sizes of at least 0"),
    (_tensor(0, shape=(2**20,) * 4), "at most .* bytes"),
    (_tensor(0, dtype=np.dtype("complex64")), r"tensor 0 .*got complex64"),
    (_tensor(0, dtype=F32), "operator 0 .*float32"),
    (_tensor(0, shape=(1, 8, 8, 4)), r"operator 0 .*weights for 4 channels"),
    (_tensor(2, dtype=I8), r"tensor 2 .*expected data of int8"),
    (_graph(inputs=[0, 9]), "inputs: expected an index of 6 tensors, got 9"),
    (_graph(inputs=[0, 0]), "inputs: expected each tensor once"),
    (_graph(inputs=[]), "reads it, but it is no input"),
    (_graph(inputs=[0, 1]), "expected no data for an input"),
    (_graph(outputs=[-1]), "outputs: expected an index"),
    (_graph(signatures=[Signature("s", {"x": 77}, {})]), "signature 's', inputs"),
    (_operator(0, kind="convolve"), r"operator 0 \('convolve'\): expected one of abs"),
    (_operator(0, inputs=(0, 99)), r"operator 0 .*inputs: expected an index"),
    (_operator(0, inputs=(0,)), r"operator 0 .*expected 2 to 3 inputs"),
    (_operator(0, outputs=()), r"operator 0 .*expected outputs"),
    (_options(stride_w=0), "operator 0 .*stride_w"),
    (_options(padding="full"), "padding same or valid, got 'full'"),
    (_options(fused_activation_function="sign_bit"), "got 'sign_bit'"),
    (_operator(1, inputs=(3, 0)), "operator 1 .*depends on input 1"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_what_is_none_is_named(change: Change, message: str) -> None:
    graph = small()
    change(graph)
    with pytest.raises(ValueError, match=message):
        graph.check()


def test_shapes_follow_computed_sizes() -> None:
    """(batch, 4, 6) as (batch, 24): the batch is read from the shape, as converters write it."""
    draft = Draft()
    x = draft.input(2, 4, 6)
    sizes = draft.op("shape", x, dtype=I32)
    begin, end, one = (draft.constant([i]) for i in (0, 1, 1))
    batch = draft.op("strided_slice", sizes, begin, end, one, shrink_axis_mask=1)
    shape = draft.op("pack", batch, draft.constant(-1))
    graph = draft.done(draft.op("reshape", x, shape))
    graph.check()
    assert infer_shapes(graph)[-1] == (2, 24)
    assert infer_shapes(graph, {0: (5, 4, 6)})[-1] == (5, 24)
    with pytest.raises(ValueError, match=r"inputs: expected indices of \[0\], got 1"):
        infer_shapes(graph, {1: (1,)})


def test_codes_and_numbers() -> None:
    q = Quantization.per_tensor(0.5, 10)
    values = np.array([-100.0, 0.0, 0.25, 0.75, np.nan, np.inf], np.float32)
    codes = q.quantized(values, I8)
    assert codes.tolist() == [-128, 10, 10, 12, 10, 127]
    assert q.dequantized(codes).tolist() == [-69.0, 0.0, 0.0, 1.0, 0.0, 58.5]
    channels = Quantization(np.array([1, 2], np.float32), np.array([0, 1]), 1)
    assert channels.dequantized(np.ones((1, 2, 2), np.int8)).tolist() == [[[1, 1], [0, 0]]]
