// SPDX-License-Identifier: Apache-2.0
#include "kernels/transpose_f32/plain.h"

namespace octavo {

// Squares of 16, so that lines of both sides stay in L1.
void transpose_f32_f32_scalar(const TransposeF32Args& args) noexcept {
  for (int64_t j = 0; j < args.columns; j += 16) {
    const int64_t j1 = j + 16 < args.columns ? j + 16 : args.columns;
    for (int64_t i = 0; i < args.rows; i += 16) {
      transpose_part(args, i, i + 16 < args.rows ? i + 16 : args.rows, j, j1);
    }
  }
}

}  // namespace octavo
