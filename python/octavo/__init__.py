# SPDX-License-Identifier: Apache-2.0
"""octavo: a float model folded into eight bits.

Int8 layers and array functions for CPUs, with the same bits on every instruction set, thread count
and backend.  `octavo.functional` holds the array functions, `octavo.nn` the layers, `octavo.models`
whole models, `octavo.compress` turns a float model into an int8 one, and `octavo.runtime` says and
sets what it runs on.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from octavo import functional, nn, runtime, sparse
from octavo._version import __version__
from octavo.functional import dequantize_linear, matmul_int8, quantize_dynamic, quantize_linear
from octavo.nn import Embedding, Linear
from octavo.qtensor import quantize

if TYPE_CHECKING:
    from octavo import algorithms, compression, data, evaluation, graph, io, lora, models, tflite
    from octavo.compression import Converter, OpsSet, Optimize, compress

__all__ = [
    "Converter",
    "Embedding",
    "Linear",
    "OpsSet",
    "Optimize",
    "__version__",
    "algorithms",
    "compress",
    "compression",
    "data",
    "dequantize_linear",
    "evaluation",
    "functional",
    "graph",
    "io",
    "lora",
    "matmul_int8",
    "models",
    "nn",
    "quantize",
    "quantize_dynamic",
    "quantize_linear",
    "runtime",
    "sparse",
    "tflite",
]

# Imported on first use: they read files and may need packages that the core does not.
_LAZY = (
    *("algorithms", "compression", "data", "evaluation", "graph", "io", "lora", "models", "tflite"),
    "tuning",
)

_FROM_COMPRESSION = ("Converter", "OpsSet", "Optimize", "compress")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"octavo.{name}")
    if name in _FROM_COMPRESSION:
        value = getattr(importlib.import_module("octavo.compression"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
