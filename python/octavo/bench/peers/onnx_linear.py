# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's linear layers: float32, dynamic int8, QDQ and MatMulNBits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from octavo._types import Array
from octavo.bench.peers.base import Bind, Call, Layer, Peer

BLOCK = 32

Node = tuple[str, str, str, dict[str, Any]]
"""Operator, inputs (separated by blanks), output, attributes."""


FLOAT, INT8 = 1, 3
"""Element types as ONNX numbers them."""


def session(model: bytes | str, threads: int) -> Any:
    """Open a session with its own pool of `threads`; its idle workers spin, as by default."""
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def graph(
    nodes: Sequence[Node],
    constants: Mapping[str, Any],
    types: tuple[int, int] = (FLOAT, FLOAT),
    shapes: tuple[Any, Any] = ((None, None), (None, None)),
) -> Any:
    """Build a model x -> y from (operator, "inputs", output, attributes) and constants."""
    helper: Any = import_module("onnx.helper")
    numpy_helper: Any = import_module("onnx.numpy_helper")
    made = [
        helper.make_node(operator, inputs.split(" "), [output], **attributes)
        for operator, inputs, output, attributes in nodes
    ]
    body = helper.make_graph(
        made,
        "layer",
        [helper.make_tensor_value_info("x", types[0], shapes[0])],
        [helper.make_tensor_value_info("y", types[1], shapes[1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=imports, ir_version=9)


def bind_session(model: Any, threads: int) -> Bind:
    """Open a session for the model; it is bound to an input by name."""
    runner = session(model.SerializeToString(), threads)

    def bind(x: Array) -> Call:
        feed = {"x": x}
        return lambda: runner.run(None, feed)[0]

    return bind


def prepare_float32(layer: Layer) -> Bind:
    """MatMul and Add in float32."""
    return bind_session(linear_model(layer), layer.threads)


def linear_model(layer: Layer, rows: int | None = None) -> Any:
    """Return MatMul and Add in float32 as a graph, for any or for one number of rows."""
    n, k = layer.weight.shape
    constants = {"w": layer.weight.T.copy(), "b": layer.bias}
    nodes: list[Node] = [("MatMul", "x w", "p", {}), ("Add", "p b", "y", {})]
    return graph(nodes, constants, shapes=((rows, k), (rows, n)))


def prepare_dynamic(layer: Layer) -> Bind:
    """Dynamic int8, as the library's own tool rewrites a layer."""
    helper: Any = import_module("onnx.helper")
    codes, scale = layer.codes()
    nodes: list[Node] = [
        ("MatMulInteger", "q w zero", "sums", {}),
        ("Cast", "sums", "sums_float", {"to": FLOAT}),
        ("Mul", "scale_x scale_w", "scale", {}),
        ("Mul", "sums_float scale", "p", {}),
        ("Add", "p b", "y", {}),
    ]
    model = graph(nodes, {"w": codes.T.copy(), "scale_w": scale, "b": layer.bias})
    quantize = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale_x", "zero"])
    model.graph.node.insert(0, quantize)
    return bind_session(model, layer.threads)


def qdq_model(layer: Layer) -> Any:
    """Return the layer with a static input scale in QuantizeLinear/DequantizeLinear form."""
    codes, scale = layer.codes()
    constants = {
        "w": codes.T.copy(),
        "scale_w": scale,
        "zero_w": np.zeros(len(scale), np.int8),
        "scale_x": np.float32(layer.input_scale()),
        "zero_x": np.int8(0),
        "b": layer.bias,
    }
    nodes: list[Node] = [
        ("QuantizeLinear", "x scale_x zero_x", "q", {}),
        ("DequantizeLinear", "q scale_x zero_x", "x_again", {}),
        ("DequantizeLinear", "w scale_w zero_w", "w_again", {"axis": 1}),
        ("MatMul", "x_again w_again", "p", {}),
        ("Add", "p b", "y", {}),
    ]
    return graph(nodes, constants)


def prepare_qdq(layer: Layer) -> Bind:
    """Use static int8 in the QDQ form."""
    return bind_session(qdq_model(layer), layer.threads)


def prepare_nbits(layer: Layer, bits: int) -> Bind:
    """4 or 8 bits in blocks of 32 with int8 activations (accuracy level 4)."""
    n, k = layer.weight.shape
    if k % BLOCK:
        raise ValueError(f"needs K divisible by {BLOCK}, got {k}")
    blocks = layer.weight.reshape(n, k // BLOCK, BLOCK)
    half = 1 << (bits - 1)
    scale = (np.abs(blocks).max(axis=2) / (half - 1)).astype(np.float32)
    scale[scale == 0] = 1
    codes = (np.rint(blocks / scale[..., None]) + half).astype(np.uint8)
    if bits == 4:
        codes = codes[..., ::2] | codes[..., 1::2] << 4
    attributes = {"domain": "com.microsoft", "K": k, "N": n, "bits": bits, "block_size": BLOCK}
    attributes["accuracy_level"] = 4
    constants = {"w": codes, "scale": scale.reshape(-1), "b": layer.bias}
    try:
        nodes = [("MatMulNBits", "x w scale   b", "y", attributes)]
        return bind_session(graph(nodes, constants), layer.threads)
    except Exception:  # releases without a fused bias refuse the sixth input
        nodes = [("MatMulNBits", "x w scale", "p", attributes), ("Add", "p b", "y", {})]
        return bind_session(graph(nodes, constants), layer.threads)


def peers() -> list[Peer]:
    """Return ONNX Runtime's layers; ImportError where it, or onnx, is missing."""
    import_module("onnx")
    import_module("onnxruntime")
    return [
        Peer("ort float32", "float", prepare_float32),
        Peer("ort dynamic int8", "int8", prepare_dynamic),
        Peer("ort qdq int8", "int8", prepare_qdq),
        Peer("ort nbits8", "int8", partial(prepare_nbits, bits=8)),
        Peer("ort nbits4", "int4", partial(prepare_nbits, bits=4)),
    ]
