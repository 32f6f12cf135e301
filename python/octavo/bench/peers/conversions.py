# SPDX-License-Identifier: Apache-2.0
"""PyTorch and ONNX Runtime on the jobs of ``octavo bench quantize``."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from octavo.bench.peers.base import Call, attempt_all
from octavo.bench.peers.onnx_linear import FLOAT, INT8, graph, session
from octavo.bench.peers.torch_linear import start

Calls = dict[str, dict[str, Call]]


def torch_calls(x: Any, codes: Any, threads: int) -> dict[str, Call]:
    """Return job name -> call. `codes` maps "tensor" and "axis 0" to (codes, scale)."""
    torch: Any = import_module("torch")
    start(threads)
    tensor = torch.from_numpy(x)
    one = float(codes["tensor"][1])
    scales = torch.from_numpy(codes["axis 0"][1])
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    whole = torch.quantize_per_tensor(tensor, one, 0, torch.qint8)
    rows = torch.quantize_per_channel(tensor, scales, zeros, 0, torch.qint8)
    return {
        "quantize tensor": lambda: torch.quantize_per_tensor(tensor, one, 0, torch.qint8),
        "quantize axis 0": lambda: torch.quantize_per_channel(
            tensor, scales, zeros, 0, torch.qint8
        ),
        "dequantize tensor": whole.dequantize,
        "dequantize axis 0": rows.dequantize,
    }


def ort_calls(x: Any, codes: Any, threads: int) -> dict[str, Call]:
    """Return job name -> call, one ONNX session for each job."""
    calls: dict[str, Call] = {}
    for kind, (quantized, given) in codes.items():
        scale = np.asarray(given, np.float32)
        constants = {"s": scale, "z": np.zeros(scale.shape, np.int8)}
        attributes = {"axis": 0} if scale.ndim else {}
        for verb, operator, value, types in (
            ("quantize", "QuantizeLinear", x, (FLOAT, INT8)),
            ("dequantize", "DequantizeLinear", quantized, (INT8, FLOAT)),
        ):
            model = graph([(operator, "x s z", "y", attributes)], constants, types)
            runner = session(model.SerializeToString(), threads)

            def call(runner: Any = runner, value: Any = value) -> Any:
                return runner.run(None, {"x": value})[0]

            calls[f"{verb} {kind}"] = call
    return calls


def find(x: Any, codes: Any, threads: int) -> tuple[Calls, dict[str, str]]:
    """Return (engine -> job -> call) for what is installed, and why the rest is absent."""
    makers = {"torch": torch_calls, "ort": ort_calls}
    return attempt_all({name: partial(make, x, codes, threads) for name, make in makers.items()})
