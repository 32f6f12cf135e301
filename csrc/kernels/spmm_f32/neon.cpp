// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_neon.h"

namespace {

// x at four columns.
static inline float32x4_t pick4(const float* x, const uint8_t* column) {
  float32x4_t v = vld1q_dup_f32(x + column[0]);
  v = vld1q_lane_f32(x + column[1], v, 1);
  v = vld1q_lane_f32(x + column[2], v, 2);
  return vld1q_lane_f32(x + column[3], v, 3);
}

static inline void gather_slice(const float* x, const uint8_t* column, const float* value,
                                int count, float* sum) {
  float32x4_t low = vld1q_f32(sum), high = vld1q_f32(sum + 4);
  for (int j = 0; j < count; ++j, column += 8, value += 8) {
    low = vfmaq_f32(low, vld1q_f32(value), pick4(x, column));
    high = vfmaq_f32(high, vld1q_f32(value + 4), pick4(x, column + 4));
  }
  vst1q_f32(sum, low);
  vst1q_f32(sum + 4, high);
}

}  // namespace

#include "kernels/spmm_f32/generic.h"

namespace octavo {

void spmm_f32_f32_neon(const SpmmF32Args& args) noexcept { spmm_generic(args); }

}  // namespace octavo
