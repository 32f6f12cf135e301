# SPDX-License-Identifier: Apache-2.0
"""LiteRT, which runs TensorFlow Lite files, with XNNPACK inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from octavo._types import Array

NAME = "LiteRT"

Run = Callable[[Sequence[Array]], list[Array]]
"""Takes the inputs in their order, returns the outputs in theirs."""


def load(path: str, threads: int) -> Run:
    """Load a file into LiteRT; what it returns runs it."""
    module = import_module("ai_edge_litert.interpreter")
    interpreter = module.Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    inputs = [one["index"] for one in interpreter.get_input_details()]
    outputs = [one["index"] for one in interpreter.get_output_details()]

    def run(arrays: Sequence[Array]) -> list[Array]:
        for index, array in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run
