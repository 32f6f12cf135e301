// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/neon.h"
#include "kernels/common/compiler.h"
#include "kernels/transpose_f32/plain.h"

namespace octavo {
namespace {

static inline float32x4_t low_halves(float32x4_t a, float32x4_t b) {
  return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
static inline float32x4_t high_halves(float32x4_t a, float32x4_t b) {
  return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

static inline void transpose_4x4(const float* x, int64_t x_stride, float* out, int64_t out_stride) {
  const float32x4_t x0 = vld1q_f32(x), x1 = vld1q_f32(x + x_stride);
  const float32x4_t x2 = vld1q_f32(x + 2 * x_stride), x3 = vld1q_f32(x + 3 * x_stride);
  const float32x4_t even01 = vtrn1q_f32(x0, x1), odd01 = vtrn2q_f32(x0, x1);
  const float32x4_t even23 = vtrn1q_f32(x2, x3), odd23 = vtrn2q_f32(x2, x3);
  vst1q_f32(out, low_halves(even01, even23));
  vst1q_f32(out + out_stride, low_halves(odd01, odd23));
  vst1q_f32(out + 2 * out_stride, high_halves(even01, even23));
  vst1q_f32(out + 3 * out_stride, high_halves(odd01, odd23));
}

}  // namespace

// Sixteen columns at a time: a line of x is used up while it is in L1.
void transpose_f32_f32_neon(const TransposeF32Args& args) noexcept {
  const int64_t rows = args.rows / 4 * 4, columns = args.columns / 4 * 4;
  for (int64_t j0 = 0; j0 < columns; j0 += 16) {
    const int64_t j1 = j0 + 16 < columns ? j0 + 16 : columns;
    for (int64_t i = 0; i < rows; i += 4) {
      for (int64_t j = j0; j < j1; j += 4) {
        transpose_4x4(args.x + i * args.x_stride + j, args.x_stride,
                      args.out + j * args.out_stride + i, args.out_stride);
      }
    }
  }
  transpose_part(args, 0, rows, columns, args.columns);
  transpose_part(args, rows, args.rows, 0, args.columns);
}

}  // namespace octavo
