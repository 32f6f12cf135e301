// SPDX-License-Identifier: Apache-2.0
#include <pybind11/pybind11.h>

#include "bindings/gil.h"
#include "bindings/register.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
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
  octavo::register_sparse_f32(m);
}
