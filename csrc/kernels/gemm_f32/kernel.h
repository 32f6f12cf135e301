// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_f32: rows of float32 times panels of a float32 weight.
//
//   c[m][n] = fma(x[m][k], w[k][n], c[m][n])     k ascending, from +0, or on top of c (accumulate)
//
// So a sum is one chain, each step rounded once, and a row's bits depend on that row alone: on no
// other row, on no tier, nor on where k is cut.
//
// w lies in panels of 16 columns (weights/panels_f32.h), `w_panel_stride` elements apart:
//
//   panel p:   | k=0: n0 .. n15 | k=1: n0 .. n15 | ..
//
// c is written for whole panels. Rows of x may lie anywhere and end at their last element; nothing
// needs an alignment.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"

namespace octavo {

struct GemmF32Args {
  const float* x;
  int64_t x_stride;  // elements
  const float* w;
  int64_t w_panel_stride;  // elements
  float* c;
  int64_t c_stride;  // elements
  int32_t m;
  int32_t panels;
  int64_t k;
  bool accumulate;
};

}  // namespace octavo
