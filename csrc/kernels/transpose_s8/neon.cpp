// SPDX-License-Identifier: Apache-2.0
// transpose_s8, eight rows by sixteen codes at a time: three rounds of zips.
#include "kernels/common/neon.h"
#include "kernels/common/compiler.h"
#include "kernels/transpose_s8/kernel.h"

namespace octavo {
namespace {

static inline void block(const uint8_t* const* row, int64_t k, uint8_t* out, int64_t rows) {
  uint8x16_t x[8], y[8];
  OCTAVO_UNROLL
  for (int i = 0; i < 8; ++i) x[i] = vld1q_u8(row[i] + k);
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {  // pairs of rows i and i + 4: k 0-7, then k 8-15
    y[i] = vzip1q_u8(x[i], x[i + 4]);
    y[i + 4] = vzip2q_u8(x[i], x[i + 4]);
  }
  OCTAVO_UNROLL
  for (int h = 0; h < 8; h += 4) {
    OCTAVO_UNROLL
    for (int i = 0; i < 2; ++i) {  // rows i, i + 2, i + 4, i + 6
      x[h + i] = vzip1q_u8(y[h + i], y[h + i + 2]);
      x[h + i + 2] = vzip2q_u8(y[h + i], y[h + i + 2]);
    }
    OCTAVO_UNROLL
    for (int q = 0; q < 4; q += 2) {  // all eight rows: k 0-1, 2-3 of a quarter
      const uint8x16_t low = vzip1q_u8(x[h + q], x[h + q + 1]);
      const uint8x16_t high = vzip2q_u8(x[h + q], x[h + q + 1]);
      uint8_t* to = out + rows * (k + 2 * h + 2 * q);
      vst1_u8(to, vget_low_u8(low));
      vst1_u8(to + rows, vget_high_u8(low));
      vst1_u8(to + 2 * rows, vget_low_u8(high));
      vst1_u8(to + 3 * rows, vget_high_u8(high));
    }
  }
}

}  // namespace

void transpose_s8_8x16_neon(const TransposeS8Args& args) noexcept {
  for (int m = 0; m < args.m; m += 8) {
    const uint8_t* row[8];
    for (int i = 0; i < 8; ++i) {  // missing rows repeat the last one
      row[i] = args.a + (m + i < args.m ? m + i : args.m - 1) * args.a_stride;
    }
    for (int64_t k = 0; k < args.k; k += 16) {
      block(row, k, args.tile + args.column + m, args.rows);
    }
  }
}

}  // namespace octavo
