// SPDX-License-Identifier: Apache-2.0
#include "kernels/transpose_s8/kernel.h"

namespace octavo {

void transpose_s8_1x1_scalar(const TransposeS8Args& args) noexcept {
  for (int k = 0; k < args.k; ++k) {
    for (int m = 0; m < args.m; ++m) {
      args.tile[args.rows * k + args.column + m] = args.a[m * args.a_stride + k];
    }
  }
}

}  // namespace octavo
