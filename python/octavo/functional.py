# SPDX-License-Identifier: Apache-2.0
"""Array functions: quantize, dequantize, int8 products, and the float functions of a transformer.

Every function takes NumPy arrays, anything with DLPack or the buffer protocol, or nested lists, and
returns a new array, or the NumPy array given as ``out``: of the result's shape and dtype,
C-contiguous, writable, apart from what is read, or else an error; where a function says so, it may
be the input itself.  Results have the same bits on every CPU, backend and thread count.
"""

from __future__ import annotations

from octavo._ops.attention import attention, attention_int8
from octavo._ops.decoder import gated, rotary_embedding
from octavo._ops.floats import gelu, layer_norm, relu, rms_norm, silu, softmax, tanh
from octavo._ops.matmul import matmul_int8
from octavo._ops.quantize import dequantize_linear, quantize_dynamic, quantize_linear
from octavo.qtensor import quantize
from octavo.sparse.product import sparse_linear, spmm

__all__ = [
    "attention",
    "attention_int8",
    "dequantize_linear",
    "gated",
    "gelu",
    "layer_norm",
    "matmul_int8",
    "quantize",
    "quantize_dynamic",
    "quantize_linear",
    "relu",
    "rms_norm",
    "rotary_embedding",
    "silu",
    "softmax",
    "sparse_linear",
    "spmm",
    "tanh",
]
