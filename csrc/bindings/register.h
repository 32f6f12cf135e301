// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <pybind11/pybind11.h>

namespace octavo {

void register_runtime(pybind11::module_& m);  // tiers, threads, build, machine probes
void register_results(pybind11::module_& m);  // arrays of results, and what memory is kept for them
void register_quantize(pybind11::module_& m);    // quantize_linear and its family
void register_weights(pybind11::module_& m);     // PackedWeight, formats
void register_linear(pybind11::module_& m);      // PackedLinear
void register_linear_f32(pybind11::module_& m);  // PackedF32, LinearF32
void register_matmul(pybind11::module_& m);      // PackedMatrix, matmul_int8
void register_nn(pybind11::module_& m);          // float32 layers
void register_attention(pybind11::module_& m);   // in float32 and int8
void register_cache(pybind11::module_& m);       // KeyValueCache, attention_cached
void register_program(pybind11::module_& m);     // Program
void register_sparse_f32(pybind11::module_& m);  // SparseF32

}  // namespace octavo
