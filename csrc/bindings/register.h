// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <nanobind/nanobind.h>

namespace octavo {

namespace nb = nanobind;

void register_runtime(nb::module_& m);     // tiers, threads, build, machine probes
void register_results(nb::module_& m);     // arrays of results, and what memory is kept for them
void register_quantize(nb::module_& m);    // quantize_linear and its family
void register_weights(nb::module_& m);     // PackedWeight, formats
void register_linear(nb::module_& m);      // PackedLinear
void register_linear_f32(nb::module_& m);  // PackedF32, LinearF32
void register_matmul(nb::module_& m);      // PackedMatrix, matmul_int8
void register_nn(nb::module_& m);          // float32 layers
void register_attention(nb::module_& m);   // in float32 and int8
void register_cache(nb::module_& m);       // KeyValueCache, attention_cached
void register_program(nb::module_& m);     // Program
void register_graph(nb::module_& m);       // GraphProgram
void register_sparse_f32(nb::module_& m);  // SparseF32

}  // namespace octavo
