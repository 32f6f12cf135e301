// SPDX-License-Identifier: Apache-2.0
// Products of signed codes, four neighbours to a sum, exact on ARMv8.0: a sum is the four numbers
// that pairwise addition makes of two registers, which no product can make overflow.
#pragma once
#include "kernels/common/neon.h"

namespace {

struct Sum4 {
  int32x4_t low, high;
};
constexpr int kSumRegisters = 2;

static inline Sum4 no_sum() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }

static inline Sum4 dot4(Sum4 sum, int8x16_t a, int8x16_t b) {
  return {vpadalq_s16(sum.low, vmull_s8(vget_low_s8(a), vget_low_s8(b))),
          vpadalq_s16(sum.high, vmull_high_s8(a, b))};
}

// b: the four codes of a lane, for all of a.
template <int Lane>
static inline Sum4 dot4_lane(Sum4 sum, int8x16_t a, int8x16_t b) {
  return dot4(sum, a, vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(b), Lane)));
}

static inline Sum4 add(Sum4 a, Sum4 b) {
  return {vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)};
}

static inline int32x4_t total(Sum4 sum) { return vpaddq_s32(sum.low, sum.high); }

}  // namespace
