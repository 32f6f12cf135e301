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

from octavo import functional, nn, runtime, tuning
from octavo._version import __version__
from octavo.functional import dequantize_linear, matmul_int8, quantize_dynamic, quantize_linear
from octavo.nn import Embedding, FloatEmbedding, FloatLinear, LayerNorm, Linear, SparseLinear
from octavo.qtensor import QTensor, quantize
from octavo.runtime import cpu_info, get_num_threads, set_num_threads
from octavo.sparse import SparseMatrix, spmm

if TYPE_CHECKING:
    from octavo import (
        compression,
        evaluation,
        io,
        lora,
        models,
        observers,
        pruning,
        sharing,
        smoothing,
    )
    from octavo.compression import (
        Calibration,
        Converter,
        Dataset,
        Optimize,
        compress,
        freeze,
        sensitivity,
    )
    from octavo.evaluation import evaluate
    from octavo.rounding import gptq

__all__ = [
    "Calibration",
    "Converter",
    "Dataset",
    "Embedding",
    "FloatEmbedding",
    "FloatLinear",
    "LayerNorm",
    "Linear",
    "Optimize",
    "QTensor",
    "SparseLinear",
    "SparseMatrix",
    "__version__",
    "compress",
    "compression",
    "cpu_info",
    "dequantize_linear",
    "evaluate",
    "evaluation",
    "freeze",
    "functional",
    "get_num_threads",
    "gptq",
    "io",
    "lora",
    "matmul_int8",
    "models",
    "nn",
    "observers",
    "pruning",
    "quantize",
    "quantize_dynamic",
    "quantize_linear",
    "runtime",
    "sensitivity",
    "set_num_threads",
    "sharing",
    "smoothing",
    "spmm",
    "tuning",
]

# Imported on first use: they read files and may need packages that the core does not.
_LAZY = (
    "compression",
    "evaluation",
    "io",
    "lora",
    "models",
    "observers",
    "pruning",
    "sharing",
    "smoothing",
)
_HOME = {
    "evaluate": "evaluation",
    "gptq": "rounding",
    **dict.fromkeys(
        ("Calibration", "Converter", "Dataset", "Optimize", "compress", "freeze", "sensitivity"),
        "compression",
    ),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"octavo.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"octavo.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
