// SPDX-License-Identifier: Apache-2.0
// Products of signed codes, four neighbours to a sum (see dot4_neon.h).
#pragma once
#include "kernels/common/neon.h"

namespace {

using Sum4 = int32x4_t;
constexpr int kSumRegisters = 1;

static inline Sum4 no_sum() { return vdupq_n_s32(0); }

static inline Sum4 dot4(Sum4 sum, int8x16_t a, int8x16_t b) { return vdotq_s32(sum, a, b); }

template <int Lane>
static inline Sum4 dot4_lane(Sum4 sum, int8x16_t a, int8x16_t b) {
  return vdotq_laneq_s32(sum, a, b, Lane);
}

static inline Sum4 add(Sum4 a, Sum4 b) { return vaddq_s32(a, b); }

static inline int32x4_t total(Sum4 sum) { return sum; }

}  // namespace
