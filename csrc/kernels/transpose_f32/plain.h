// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/transpose_f32/kernel.h"

namespace octavo {
namespace {

// Rows [i0, i1) and columns [j0, j1), element by element.
static inline void transpose_part(const TransposeF32Args& args, int64_t i0, int64_t i1, int64_t j0,
                                  int64_t j1) {
  for (int64_t j = j0; j < j1; ++j) {
    for (int64_t i = i0; i < i1; ++i) {
      args.out[j * args.out_stride + i] = args.x[i * args.x_stride + j];
    }
  }
}

}  // namespace
}  // namespace octavo
