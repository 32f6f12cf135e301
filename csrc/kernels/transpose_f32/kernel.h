// SPDX-License-Identifier: Apache-2.0
// Kernel family transpose_f32: out[j][i] = x[i][j] for 0 <= i < rows, 0 <= j < columns, bits kept.
//
// Rows of x and of out may lie anywhere, need no alignment, and may end at their last element.
#pragma once
#include <stdint.h>

namespace octavo {

struct TransposeF32Args {
  const float* x;
  int64_t x_stride;  // elements
  int64_t rows;
  int64_t columns;
  float* out;
  int64_t out_stride;
};

}  // namespace octavo
