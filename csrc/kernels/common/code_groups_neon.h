// SPDX-License-Identifier: Apache-2.0
// Groups of two codes of 16 bits (see code_groups_scalar.h for what each function means).
#pragma once
#include "kernels/common/code_groups_neon_rows.h"

namespace {

constexpr int kGroupCodes = 2;
constexpr int kQueryOffset = 0;
constexpr bool kSignedWeights = false;

static inline int32x4_t dot_4(int32x4_t sum, int32x4_t a, int32x4_t b) {
  const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
  return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(x, y)));
}
static inline I16 dot(I16 sum, I16 a, I16 b) {
  return {dot_4(sum.q0, a.q0, b.q0), dot_4(sum.q1, a.q1, b.q1), dot_4(sum.q2, a.q2, b.q2),
          dot_4(sum.q3, a.q3, b.q3)};
}

static inline int32x4_t join_words(int32x4_t low, int32x4_t high) {
  return vreinterpretq_s32_s16(vtrn1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high)));
}
static inline I16 signed_groups(const I16* codes) {
  const I16 &a = codes[0], &b = codes[1];
  return {join_words(a.q0, b.q0), join_words(a.q1, b.q1), join_words(a.q2, b.q2),
          join_words(a.q3, b.q3)};
}
static inline I16 weight_groups(const I16* codes) {
  const I16 weights[2] = {max_i(codes[0], set1_i(0)), max_i(codes[1], set1_i(0))};
  return signed_groups(weights);
}

static inline void put_four_codes(int32_t* out, int32x4_t r0, int32x4_t r1, int32x4_t r2,
                                  int32x4_t r3) {
  const int32x2_t a = vreinterpret_s32_s16(vmovn_s32(r0)), b = vreinterpret_s32_s16(vmovn_s32(r1));
  const int32x2_t c = vreinterpret_s32_s16(vmovn_s32(r2)), d = vreinterpret_s32_s16(vmovn_s32(r3));
  vst1q_s32(out, vcombine_s32(vzip1_s32(a, b), vzip1_s32(c, d)));
  vst1q_s32(out + 16, vcombine_s32(vzip2_s32(a, b), vzip2_s32(c, d)));
}
template <bool Queries>
static inline void put_four_rows(int32_t* out, const I16* r, I16&) {
  put_four_codes(out, r[0].q0, r[1].q0, r[2].q0, r[3].q0);
  put_four_codes(out + 32, r[0].q1, r[1].q1, r[2].q1, r[3].q1);
  put_four_codes(out + 64, r[0].q2, r[1].q2, r[2].q2, r[3].q2);
  put_four_codes(out + 96, r[0].q3, r[1].q3, r[2].q3, r[3].q3);
}

static inline void put_starts(int32_t*, const I16*) {}

}  // namespace
