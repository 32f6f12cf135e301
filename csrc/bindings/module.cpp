// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "bindings/gil.h"
#include "bindings/register.h"

NB_MODULE(_core, m) {
  // What is alive at the end is the interpreter's affair.
  nanobind::set_leak_warnings(false);
  octavo::import_numpy();
  octavo::remember_main_thread();
  octavo::register_runtime(m);
  octavo::register_results(m);
  octavo::register_quantize(m);
  octavo::register_weights(m);
  octavo::register_linear(m);
  octavo::register_linear_f32(m);
  octavo::register_matmul(m);
  octavo::register_nn(m);
  octavo::register_attention(m);
  octavo::register_cache(m);
  octavo::register_program(m);
  octavo::register_graph(m);
  octavo::register_sparse_f32(m);
}
