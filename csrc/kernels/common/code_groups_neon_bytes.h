// SPDX-License-Identifier: Apache-2.0
// What code_groups_neon_dotprod.h and code_groups_neon_i8mm.h share: groups of four codes of 8
// bits.
#pragma once
#include "kernels/common/code_groups_neon_rows.h"

namespace {

constexpr int kGroupCodes = 4;

static inline int32x4_t join_bytes(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
  return vsliq_n_s32(vsliq_n_s32(vsliq_n_s32(a, b, 8), c, 16), d, 24);
}
static inline I16 signed_groups(const I16* x) {
  return {join_bytes(x[0].q0, x[1].q0, x[2].q0, x[3].q0),
          join_bytes(x[0].q1, x[1].q1, x[2].q1, x[3].q1),
          join_bytes(x[0].q2, x[1].q2, x[2].q2, x[3].q2),
          join_bytes(x[0].q3, x[1].q3, x[2].q3, x[3].q3)};
}
static inline I16 weight_groups(const I16* codes) {
  I16 weights[4];
  for (int i = 0; i < 4; ++i) weights[i] = max_i(codes[i], set1_i(0));
  return signed_groups(weights);
}

// `sums` has a register per row.
template <bool Queries>
static inline void put_four_rows(int32_t* out, const I16* rows, I16& sums) {
  const int8x16_t r0 = pack_s8(rows[0]), r1 = pack_s8(rows[1]);
  const int8x16_t r2 = pack_s8(rows[2]), r3 = pack_s8(rows[3]);
  if (!Queries) {
    const int8x16_t one = vdupq_n_s8(1);
    sums = {vdotq_s32(sums.q0, one, r0), vdotq_s32(sums.q1, one, r1), vdotq_s32(sums.q2, one, r2),
            vdotq_s32(sums.q3, one, r3)};
  }
  const int8x16_t offset = vdupq_n_s8(Queries ? -128 : 0);
  const int32x4_t x0 = vreinterpretq_s32_s8(veorq_s8(r0, offset));
  const int32x4_t x1 = vreinterpretq_s32_s8(veorq_s8(r1, offset));
  const int32x4_t x2 = vreinterpretq_s32_s8(veorq_s8(r2, offset));
  const int32x4_t x3 = vreinterpretq_s32_s8(veorq_s8(r3, offset));
  const int32x4_t even01 = vtrn1q_s32(x0, x1), odd01 = vtrn2q_s32(x0, x1);
  const int32x4_t even23 = vtrn1q_s32(x2, x3), odd23 = vtrn2q_s32(x2, x3);
  vst1q_s32(out, vcombine_s32(vget_low_s32(even01), vget_low_s32(even23)));
  vst1q_s32(out + 16, vcombine_s32(vget_low_s32(odd01), vget_low_s32(odd23)));
  vst1q_s32(out + 32, vcombine_s32(vget_high_s32(even01), vget_high_s32(even23)));
  vst1q_s32(out + 48, vcombine_s32(vget_high_s32(odd01), vget_high_s32(odd23)));
}

static inline int32x4_t four_starts(I16 sums) {
  const int32x4_t sum = vpaddq_s32(vpaddq_s32(sums.q0, sums.q1), vpaddq_s32(sums.q2, sums.q3));
  return vnegq_s32(vshlq_n_s32(sum, 7));
}
static inline void put_starts(int32_t* start, const I16* sums) {
  store_i(start,
          {four_starts(sums[0]), four_starts(sums[1]), four_starts(sums[2]), four_starts(sums[3])});
}

}  // namespace
