// SPDX-License-Identifier: Apache-2.0
// depthwise_s8 with NEON registers; a tier's file includes its dot4_*.h first. Sixteen channels of
// four rows are four registers.
#pragma once
#include "kernels/common/codes_neon.h"
#include "kernels/common/lanes16_neon.h"

namespace octavo {
namespace {

constexpr int kRowsOfUnit = 4, kOutputs = 4 / kSumRegisters, kStrip = 1;

struct Sum {
  Sum4 q[4];
};
struct UnitWeights {
  int8x16_t q[4];
};

static inline void interleave(const int8_t* const* p, uint8_t* x) {
  vst4q_s8((int8_t*)x, {{vld1q_s8(p[0]), vld1q_s8(p[1]), vld1q_s8(p[2]), vld1q_s8(p[3])}});
}

static inline I16 start_of(I16 offset, I16) { return offset; }
static inline UnitWeights weights_of(const int8_t* w, int u) {
  w += 64 * u;
  return {{vld1q_s8(w), vld1q_s8(w + 16), vld1q_s8(w + 32), vld1q_s8(w + 48)}};
}
static inline Sum first_sum(I16) { return {{no_sum(), no_sum(), no_sum(), no_sum()}}; }
static OCTAVO_INLINE Sum add_products(Sum sum, const uint8_t* x, const UnitWeights& w) {
  return {{dot4(sum.q[0], load16(x), w.q[0]), dot4(sum.q[1], load16(x + 16), w.q[1]),
           dot4(sum.q[2], load16(x + 32), w.q[2]), dot4(sum.q[3], load16(x + 48), w.q[3])}};
}
static OCTAVO_INLINE I16 finished(const Sum& sum, I16 start) {
  return add_i(start, {total(sum.q[0]), total(sum.q[1]), total(sum.q[2]), total(sum.q[3])});
}

}  // namespace
}  // namespace octavo

#include "kernels/depthwise_s8/strip.h"
