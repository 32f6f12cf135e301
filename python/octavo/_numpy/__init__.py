# SPDX-License-Identifier: Apache-2.0
"""The NumPy backend: slow, short, and the specification of every backend function.

The native backend returns the same bits.  All arithmetic is float32 with round to nearest even, one
rounding per written operation, in the written order.  Arguments are already checked: native byte
order, aligned, contiguous where `octavo.functional` and `octavo.nn` make them so.
"""

from __future__ import annotations

from octavo._float_mode import in_default_mode
from octavo._numpy import attention as int8_attention
from octavo._numpy import decoder, float_ops, linear, quantize
from octavo._numpy.cache import KeyValueCache, attention_cached
from octavo._numpy.graph_program import GraphProgram
from octavo._numpy.grouped import GroupedLinear, GroupedWeight
from octavo._numpy.linear import PackedLinear, PackedMatrix, matmul_int8
from octavo._numpy.sparse_f32 import SparseF32
from octavo._numpy.system import (
    SMALLEST_KEPT,
    compiled_isa_tiers,
    compiler,
    cpu_features,
    default_num_threads,
    empty,
    families,
    get_isa,
    get_num_threads,
    isa_tiers,
    kernels,
    limit_result_cache,
    result_cache,
    set_isa,
    set_num_threads,
    version,
)
from octavo._numpy.weights import PackedWeight, format_cost, weight_formats

activation = in_default_mode(float_ops.activation)
attention = in_default_mode(float_ops.attention)
attention_int8 = in_default_mode(int8_attention.attention_int8)
dequantize_linear = in_default_mode(quantize.dequantize_linear)
embedding = in_default_mode(linear.embedding)
gated = in_default_mode(decoder.gated)
grouped_linear = GroupedLinear
grouped_weight = GroupedWeight
layer_norm = in_default_mode(float_ops.layer_norm)
quantize_dynamic = in_default_mode(quantize.quantize_dynamic)
quantize_linear = in_default_mode(quantize.quantize_linear)
rms_norm = in_default_mode(decoder.rms_norm)
rotary = in_default_mode(decoder.rotary)
softmax = in_default_mode(float_ops.softmax)
widen = in_default_mode(quantize.widen)

__all__ = [
    "SMALLEST_KEPT",
    "GraphProgram",
    "KeyValueCache",
    "PackedLinear",
    "PackedMatrix",
    "PackedWeight",
    "SparseF32",
    "activation",
    "attention",
    "attention_cached",
    "attention_int8",
    "compiled_isa_tiers",
    "compiler",
    "cpu_features",
    "default_num_threads",
    "dequantize_linear",
    "embedding",
    "empty",
    "families",
    "format_cost",
    "gated",
    "get_isa",
    "get_num_threads",
    "grouped_linear",
    "grouped_weight",
    "isa_tiers",
    "kernels",
    "layer_norm",
    "limit_result_cache",
    "matmul_int8",
    "quantize_dynamic",
    "quantize_linear",
    "result_cache",
    "rms_norm",
    "rotary",
    "set_isa",
    "set_num_threads",
    "softmax",
    "version",
    "weight_formats",
    "widen",
]
