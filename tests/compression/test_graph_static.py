# SPDX-License-Identifier: Apache-2.0
"""Graphs in int8: what TensorFlow Lite's specification asks for, and what LiteRT makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octavo
from face_files import FACES
from graphs import Draft
from octavo import tflite
from octavo.algorithms.measures import sqnr_db
from octavo.compression.graph_entry import compress_graph
from octavo.compression.graph_run import Exposed
from octavo.compression.graph_weights import weight_and_bias
from octavo.graph import Graph, Session

F32, I8, U8 = (np.dtype(name) for name in ("float32", "int8", "uint8"))
STATIC = {"quantize": {"activations": "static", "observer": "minmax"}}
CONV = {"padding": "same", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1}
CONV |= {"dilation_h_factor": 1, "fused_activation_function": "none"}
POOL = {"padding": "valid", "stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
POOL |= {"fused_activation_function": "none"}
PLAIN = {"fused_activation_function": "none"}


def smooth(rng: np.random.Generator, *shape: int) -> Any:
    """Return images without the noise that no file of images has."""
    x = rng.uniform(-1, 1, shape).cumsum(axis=1).cumsum(axis=2)
    return (x / np.abs(x).max()).astype(np.float32)


def network(seed: int = 0) -> Graph:
    """Return a small network of images with all that a classifier has."""
    draft, rng = Draft(), np.random.default_rng(seed)

    def constant(*shape: int, scale: float = 0.4) -> int:
        return draft.constant(rng.standard_normal(shape).astype(np.float32) * scale)

    x = draft.input(1, 8, 8, 3)
    made = draft.op("conv_2d", x, constant(8, 3, 3, 3), constant(8), **CONV)
    made = first = draft.op("relu6", made)
    made = draft.op(
        *("depthwise_conv_2d", made, constant(1, 3, 3, 8), constant(8)),
        **CONV | {"depth_multiplier": 1, "fused_activation_function": "relu"},
    )
    made = draft.op("conv_2d", made, constant(8, 1, 1, 8), constant(8), **CONV)
    made = draft.op("add", made, first, **PLAIN)
    pooled = draft.op("max_pool_2d", made, **POOL)
    mean = draft.op("average_pool_2d", made, **POOL)
    made = draft.op("concatenation", pooled, mean, axis=3, **PLAIN)
    made = draft.op("mean", made, draft.constant(np.array([1, 2], np.int32)), keep_dims=False)
    made = draft.op("fully_connected", made, constant(5, 16), constant(5), **PLAIN)
    return draft.done(draft.op("softmax", made, beta=1.0), made)


def quantized(graph: Graph, data: Any, recipe: Any = None, **more: Any) -> Graph:
    return compress_graph(graph, recipe or STATIC, data, **more)[0]


def data_of(graph: Graph, count: int = 8, seed: int = 1) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(seed)
    shapes = [graph.tensors[index].shape for index in graph.inputs]
    return [tuple(smooth(rng, *shape) for shape in shapes) for _ in range(count)]


def litert(content: bytes, *inputs: Any) -> list[Any]:
    module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = module.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for one, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(one["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]


def kinds(graph: Graph) -> list[str]:
    return [one.kind for one in graph.operators]


def test_what_the_specification_asks_for() -> None:
    graph = network()
    made = quantized(graph, data_of(graph))
    assert kinds(made)[0] == "quantize"
    assert kinds(made)[-2:] == ["dequantize", "dequantize"]
    # The activation is a part of what it follows; all else is there, and in int8.
    assert kinds(made)[1:-2] == [kind for kind in kinds(graph) if kind != "relu6"]
    for operator in made.operators[1:-2]:
        tensors = [made.tensors[i] for i in operator.inputs + operator.outputs]
        assert {one.dtype.name for one in tensors} <= {"int8", "int32"}
        if operator.kind in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
            x, weight, bias = tensors[:3]
            axis = 3 if operator.kind == "depthwise_conv_2d" else 0
            assert weight.quantization.axis == axis
            assert weight.quantization.scale.size == weight.shape[axis]
            assert not weight.quantization.zero_point.any()
            assert np.abs(weight.data.astype(int)).max() == 127
            products = x.quantization.scale * weight.quantization.scale
            np.testing.assert_array_equal(bias.quantization.scale, products)
            assert bias.dtype == np.int32
        if operator.kind in ("max_pool_2d", "average_pool_2d", "concatenation"):
            first = tensors[0].quantization
            assert all(first.equals(one.quantization) for one in tensors)
        if operator.kind == "softmax":
            found = tensors[-1].quantization
            assert (found.scale, found.zero_point) == (np.float32(1 / 256), -128)
    borders = [made.tensors[i] for i in made.inputs + made.outputs]
    assert [one.name for one in borders] == [
        graph.tensors[i].name for i in graph.inputs + graph.outputs
    ]


@pytest.mark.parametrize("types", [(F32, F32), (I8, I8), (U8, U8), (U8, F32)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_litert_computes_the_same(types: Any, seed: int) -> None:
    graph = network(seed)
    made = quantized(graph, data_of(graph, count=32), types=types)
    assert [made.tensors[i].dtype for i in (made.inputs[0], made.outputs[0])] == list(types)
    content, session = tflite.to_bytes(made), Session(made)
    steps, exact, found = [], [], []
    for (x,) in data_of(graph, count=16, seed=9):
        codes = x if types[0] == F32 else codes_of(made, made.inputs[0]).quantized(x, types[0])
        results = zip(made.outputs, litert(content, codes), session(codes), strict=True)
        for index, wanted, got in results:
            known = codes_of(made, index)
            numbers = [y if y.dtype == F32 else known.dequantized(y) for y in (wanted, got)]
            steps.append(np.abs(numbers[0] - numbers[1]).reshape(-1) / known.scale)
        exact.append(Session(graph)(x)[1])
        found.append(numbers[1])
    assert sqnr_db(np.stack(exact), np.stack(found)) > 15
    assert (np.concatenate(steps) < 1.001).mean() >= 0.999


def codes_of(graph: Graph, index: int) -> Any:
    """Return what the codes of an input or output stand for, behind a change of type too."""
    for one in graph.operators:
        if one.kind == "dequantize" and one.outputs == (index,):
            index = one.inputs[0]
    return graph.tensors[index].quantization


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.stem)
def test_operators_of_faces_are_litert_s(path: Any) -> None:
    """Each operator, on what LiteRT gives it, is within a step of what LiteRT makes of it."""
    graph = tflite.read(path).graph
    data = data_of(graph, 2)
    made = quantized(graph, data)
    values = made_by_litert(made, data[0])
    total = near = 0
    for operator in made.operators:
        sources = [i for i in operator.inputs if i >= 0 and made.tensors[i].data is None]
        one = Graph(made.tensors, [operator], sources, list(operator.outputs))
        results = Session(one)(*(values[i] for i in sources))
        for index, got in zip(operator.outputs, results, strict=True):
            if got.dtype == np.int8:
                off = np.abs(got.astype(int) - values[index])
                total, near = total + off.size, near + int((off <= 1).sum())
    assert near >= 0.999 * total > 0


def made_by_litert(graph: Graph, inputs: Any) -> dict[int, Any]:
    """Return all tensors that LiteRT makes on the way."""
    made = [i for one in graph.operators for i in one.outputs]
    shown = Graph(graph.tensors, graph.operators, graph.inputs, made)
    found = dict(zip(made, litert(tflite.to_bytes(shown), *inputs), strict=True))
    return found | dict(zip(graph.inputs, inputs, strict=True))


def island() -> Graph:
    draft, rng = Draft(), np.random.default_rng(0)
    x = draft.input(1, 4, 4, 3)
    weight = draft.constant(rng.standard_normal((4, 1, 1, 3)).astype(np.float32))
    made = draft.op("conv_2d", x, weight, **CONV)
    made = draft.op("reshape", made, draft.constant(np.array([16, 4], np.int32)), new_shape=[16, 4])
    made = draft.op("exp", made)
    made = draft.op("reshape", made, draft.constant(np.array([8, 8], np.int32)), new_shape=[8, 8])
    return draft.done(draft.op("mul", made, made, **PLAIN))


def test_what_has_no_int8_form_stays_float() -> None:
    graph = island()
    made, applied = compress_graph(graph, STATIC, data_of(graph))
    assert kinds(made) == [
        *("quantize", "conv_2d", "reshape", "dequantize", "exp", "quantize", "reshape", "mul"),
        "dequantize",
    ]
    (name,) = applied["float_operators"]
    assert name == graph.tensors[graph.operators[2].outputs[0]].name
    assert applied["float_operators"][name] == "exp has no int8 form"
    kept, applied = compress_graph(
        *(graph, {"quantize": {"activations": "static", "exclude": ["*"]}}, data_of(graph))
    )
    assert kinds(kept) == kinds(graph)
    assert set(applied["float_operators"].values()) == {"exp has no int8 form", "kept in float32"}


def test_a_fixed_scale_beside_another() -> None:
    """What softmax makes is requantized where it goes together with other values."""
    draft = Draft()
    x = draft.input(1, 8)
    made = draft.op("concatenation", draft.op("softmax", x, beta=1.0), x, axis=1, **PLAIN)
    graph = draft.done(made)
    made_graph = quantized(graph, [(np.linspace(-4, 4, 8, dtype=np.float32)[None],)])
    assert kinds(made_graph) == ["quantize", "softmax", "quantize", "concatenation", "dequantize"]
    codes = made_graph.tensors[made_graph.operators[1].outputs[0]].quantization
    assert codes.scale == np.float32(1 / 256)


def test_tiny_weights_beside_a_large_bias() -> None:
    weight = np.array([[1e-30, -1e-30], [0.5, 0.25], [0.0, 0.0]], np.float32)
    bias = np.array([3.0, -0.125, 0.75], np.float32)
    codes, scales, steps, of_steps = weight_and_bias(weight, 0, bias, 0.01, None)
    np.testing.assert_allclose(of_steps.dequantized(steps), bias, rtol=1e-2)
    assert np.abs(steps.astype(np.int64)).max() <= 1 << 30
    assert codes[1].tolist() == [127, 64]
    np.testing.assert_array_equal(scales.scale[1:] * codes[1:, 0], [0.5, 0])


@pytest.mark.parametrize("recipe", ["int8", "fp16"])
def test_small_weights_with_float_activations(recipe: str) -> None:
    draft, rng = Draft(), np.random.default_rng(0)
    x = draft.input(1, 6, 6, 16)
    for kernel in (3, 1):
        weight = rng.standard_normal((16, kernel, kernel, 16)).astype(np.float32) / (4 * kernel)
        x = draft.op("conv_2d", x, draft.constant(weight), draft.constant(np.ones(16)), **CONV)
    graph = draft.done(x)
    made = octavo.compress(graph, recipe)
    ((x,),) = data_of(graph, 1)
    wanted, content = Session(graph)(x)[0], tflite.to_bytes(made)
    bound = (0.02 if recipe == "int8" else 0.002) * np.abs(wanted).max()
    for got in (tflite.load(content)(x), litert(content, x)[0]):
        assert 0 < np.abs(got - wanted).max() < bound
    stored = [one.dtype.name for one in made.tensors if one.data is not None]
    # 256 weights are too few to become int8, but not to be stored in half.
    wanted_types = ["float16", "float16"] if recipe == "fp16" else ["int8", "float32"]
    assert sorted(stored) == sorted(wanted_types + ["float32"] * 2)


def test_inputs_are_left_as_they_are() -> None:
    graph = network()
    before = [(one.name, one.data, one.dtype) for one in graph.tensors], kinds(graph)
    quantized(graph, data_of(graph), {"quantize": {**STATIC["quantize"], "equalize": True}})
    after = [(one.name, one.data, one.dtype) for one in graph.tensors], kinds(graph)
    assert before[1] == after[1]
    for one, other in zip(before[0], after[0], strict=True):
        assert one[0] == other[0]
        assert one[1] is other[1]


def test_factors_behind_a_layer_go_into_it() -> None:
    draft, rng = Draft(), np.random.default_rng(3)
    x = draft.input(1, 4, 4, 3)
    weight = draft.constant(rng.standard_normal((5, 3, 3, 3)).astype(np.float32))
    made = draft.op("conv_2d", x, weight, **CONV)
    made = draft.op("mul", made, draft.constant(rng.uniform(0.5, 2, 5)), **PLAIN)
    made = draft.op("add", made, draft.constant(rng.standard_normal(5)), **PLAIN)
    graph = draft.done(draft.op("relu", made))
    data = data_of(graph)
    made_graph = quantized(graph, data)
    assert kinds(made_graph) == ["quantize", "conv_2d", "dequantize"]
    wanted = Session(graph)(*data[0])[0]
    assert np.abs(Session(made_graph)(*data[0])[0] - wanted).max() < 0.02 * wanted.max()


def test_every_tensor_can_be_seen() -> None:
    graph = network()
    (feed,) = data_of(graph, 1)
    tensors = graph.inputs + [i for one in graph.operators for i in one.outputs]
    values = Exposed(graph, tensors)(feed)
    assert list(values) == tensors
    np.testing.assert_array_equal(values[graph.outputs[0]], Session(graph)(*feed)[0])
