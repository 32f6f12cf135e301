# SPDX-License-Identifier: Apache-2.0
"""PyTorch's linear layers: float32, bfloat16, dynamic int8 on each engine, oneDNN's operator."""

from __future__ import annotations

import warnings
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from octavo._types import Array
from octavo.bench.peers.base import Bind, Call, Layer, Peer

ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")


def start(threads: int) -> None:
    """Set the threads and switch gradients off, for the whole process."""
    torch: Any = import_module("torch")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    warnings.filterwarnings("ignore")


def float_layer(layer: Layer, dtype: str = "float32") -> Any:
    """Return PyTorch's layer in `dtype`."""
    torch: Any = import_module("torch")
    n, k = layer.weight.shape
    linear = torch.nn.Linear(k, n)
    linear.weight.data = torch.from_numpy(layer.weight.copy())
    linear.bias.data = torch.from_numpy(layer.bias.copy())
    return linear.to(getattr(torch, dtype)).eval()


def prepare_float32(layer: Layer) -> Bind:
    """PyTorch's own float32 layer."""
    torch: Any = import_module("torch")
    start(layer.threads)
    linear = float_layer(layer)

    def bind(x: Array) -> Call:
        tensor = torch.from_numpy(x)
        return lambda: linear(tensor).numpy()

    return bind


def prepare_bfloat16(layer: Layer) -> Bind:
    """PyTorch's layer in bfloat16, input converted beforehand."""
    torch: Any = import_module("torch")
    start(layer.threads)
    linear = float_layer(layer, "bfloat16")

    def bind(x: Array) -> Call:
        return partial(linear, torch.from_numpy(x).bfloat16())

    return bind


def prepare_dynamic(engine: str, layer: Layer) -> Bind:
    """Dynamic int8 on one of PyTorch's engines."""
    torch: Any = import_module("torch")
    start(layer.threads)
    model = dynamic_int8(torch.nn.Sequential(float_layer(layer)), engine)

    def bind(x: Array) -> Call:
        tensor = torch.from_numpy(x)
        return lambda: model(tensor).numpy()

    return bind


def dynamic_int8(model: Any, engine: str) -> Any:
    """Return a copy of the model whose linear layers are dynamic int8 on `engine`."""
    torch: Any = import_module("torch")
    torch.backends.quantized.engine = engine
    quantize = torch.ao.quantization.quantize_dynamic
    return quantize(model, {torch.nn.Linear}, dtype=torch.qint8)


def prepare_onednn(quantized_input: bool, layer: Layer) -> Bind:
    """OneDNN's int8 operator with static scales; uint8 input, quantized beforehand or inside."""
    torch: Any = import_module("torch")
    start(layer.threads)
    codes, scale = layer.codes()
    ops = torch.ops.onednn
    scales, zeros = torch.from_numpy(scale), torch.zeros(len(scale), dtype=torch.int32)
    bias, x_scale = torch.from_numpy(layer.bias), layer.input_scale()

    def linear(packed: Any, q: Any) -> Any:
        return ops.qlinear_pointwise(
            q, x_scale, 128, packed, scales, zeros, bias, 1.0, 0, torch.float32, "none", [], ""
        )

    def bind(x: Array) -> Call:
        # The weight (n, k) is packed for the shape of its input, which suits this library best.
        packed = ops.qlinear_prepack(torch.from_numpy(codes), list(x.shape))
        if quantized_input:
            codes_x = np.clip(np.rint(x / np.float32(x_scale)) + 128, 0, 255).astype(np.uint8)
            return partial(linear, packed, torch.from_numpy(codes_x))
        tensor = torch.from_numpy(x)
        quantize = torch.quantize_per_tensor

        def call() -> Any:
            q = quantize(tensor, x_scale, 128, torch.quint8).int_repr()
            return linear(packed, q).numpy()

        return call

    return bind


def peers() -> list[Peer]:
    """Return PyTorch's layers that this build has."""
    torch: Any = import_module("torch")
    found = [
        Peer("torch float32", "float", prepare_float32),
        Peer("torch bf16", "float", prepare_bfloat16),
    ]
    found += [
        Peer(f"torch int8 {engine}", "int8", partial(prepare_dynamic, engine))
        for engine in ENGINES
        if engine in torch.backends.quantized.supported_engines
    ]
    if hasattr(torch.ops.onednn, "qlinear_pointwise"):
        found.append(Peer("onednn qlinear", "int8", partial(prepare_onednn, False)))
        found.append(Peer("onednn qlinear bare", "part", partial(prepare_onednn, True)))
    return found
