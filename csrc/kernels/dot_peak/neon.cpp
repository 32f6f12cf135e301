// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/neon.h"
#include "kernels/common/compiler.h"
#include "kernels/dot_peak/kernel.h"

namespace octavo {

// The exact sequence of gemm_s8: three instructions for 16 products.
void dot_peak_s8s8_neon(const DotPeakArgs& args) noexcept {
  constexpr int kChains = 8;
  int32x4_t sum[kChains];
  OCTAVO_UNROLL
  for (int i = 0; i < kChains; ++i) sum[i] = vdupq_n_s32(i);
  // Opaque operands: of known ones the products would be constants.
  [[maybe_unused]] volatile int8_t three = 3, four = 4;
  int8x8_t a = vdup_n_s8(3), b = vdup_n_s8(-5), other = vdup_n_s8(4);
  for (int64_t it = 0; it < args.iterations; ++it) {
    int16x8_t pairs[kChains];
    OCTAVO_UNROLL
    for (int i = 0; i < kChains; ++i) {
      OCTAVO_HIDE_VECTOR(a, vdup_n_s8(three));
      pairs[i] = vmull_s8(a, b);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < kChains; ++i) {
      OCTAVO_HIDE_VECTOR(other, vdup_n_s8(four));
      pairs[i] = vmlsl_s8(pairs[i], other, b);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < kChains; ++i) sum[i] = vpadalq_s16(sum[i], pairs[i]);
  }
  OCTAVO_UNROLL
  for (int i = 1; i < kChains; ++i) sum[0] = vaddq_s32(sum[0], sum[i]);
  *args.sink = vgetq_lane_s32(sum[0], 0);
  *args.operations = args.iterations * kChains * 16 * 2;
}

}  // namespace octavo
