# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's int8 linear layer, from the same QDQ graph that ONNX Runtime gets."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from octavo._types import Array
from octavo.bench.peers.base import Bind, Call, Layer, Peer
from octavo.bench.peers.onnx_linear import qdq_model


def settings(threads: int) -> dict[str, object]:
    """Return compile settings: latency, float32 where not int8, no sleeping streams beside."""
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }


def prepare(layer: Layer) -> Bind:
    """Compile the QDQ graph for the shape of each input."""
    openvino: Any = import_module("openvino")
    core = openvino.Core()
    serialized = qdq_model(layer).SerializeToString()

    def bind(x: Array) -> Call:
        # A fixed shape per input: it is the fastest form that this library has.
        model = core.read_model(serialized)
        model.reshape(list(x.shape))
        request = core.compile_model(model, "CPU", settings(layer.threads)).create_infer_request()
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

        def call() -> object:
            request.infer()
            return request.get_output_tensor().data

        return call

    return bind


def peers() -> list[Peer]:
    """Return OpenVINO's layer; ImportError where it, or onnx for its graph, is missing."""
    import_module("onnx")
    import_module("openvino")
    return [Peer("openvino int8", "int8", prepare)]
