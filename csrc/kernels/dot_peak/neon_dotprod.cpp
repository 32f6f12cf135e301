// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/compiler.h"
#include "kernels/common/neon.h"
#include "kernels/dot_peak/kernel.h"

namespace octavo {

void dot_peak_s8s8_neon_dotprod(const DotPeakArgs& args) noexcept {
  constexpr int kChains = 16;
  int32x4_t sum[kChains];
  OCTAVO_UNROLL
  for (int i = 0; i < kChains; ++i) sum[i] = vdupq_n_s32(i);
  const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-5);
  for (int64_t it = 0; it < args.iterations; ++it) {
    OCTAVO_UNROLL
    for (int i = 0; i < kChains; ++i) {
      sum[i] = vdotq_s32(sum[i], a, b);
      OCTAVO_FORGET_VECTOR(sum[i]);
    }
  }
  OCTAVO_UNROLL
  for (int i = 1; i < kChains; ++i) sum[0] = vaddq_s32(sum[0], sum[i]);
  *args.sink = vgetq_lane_s32(sum[0], 0);
  *args.operations = args.iterations * kChains * 16 * 2;
}

}  // namespace octavo
