// SPDX-License-Identifier: Apache-2.0
// What kernels on NEON registers share: codes in, sums out.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/neon.h"

namespace octavo {
namespace {

static inline int8x16_t load16(const void* p) { return vld1q_s8((const int8_t*)p); }

// Four codes for all lanes.
static inline int8x16_t broadcast4(const void* p) {
  return vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(p)));
}

// The codes of 4 * Vectors rows (8 or 16) at four places of k, each place's rows side by side, as
// groups of four along k: one register for each four rows.
template <int Vectors>
static inline void interleave(const uint8_t* a0, const uint8_t* a1, const uint8_t* a2,
                              const uint8_t* a3, int8x16_t* group) {
  static_assert(Vectors == 2 || Vectors == 4, "eight or sixteen rows");
  const auto load = [](const uint8_t* p) {
    return Vectors == 4 ? vld1q_u8(p) : vcombine_u8(vld1_u8(p), vdup_n_u8(0));
  };
  const uint8x16_t x0 = load(a0), x1 = load(a1), x2 = load(a2), x3 = load(a3);
  const uint16x8_t low01 = vreinterpretq_u16_u8(vzip1q_u8(x0, x1));
  const uint16x8_t low23 = vreinterpretq_u16_u8(vzip1q_u8(x2, x3));
  group[0] = vreinterpretq_s8_u16(vzip1q_u16(low01, low23));
  group[1] = vreinterpretq_s8_u16(vzip2q_u16(low01, low23));
  if (Vectors == 2) return;
  const uint16x8_t high01 = vreinterpretq_u16_u8(vzip2q_u8(x0, x1));
  const uint16x8_t high23 = vreinterpretq_u16_u8(vzip2q_u8(x2, x3));
  group[Vectors - 2] = vreinterpretq_s8_u16(vzip1q_u16(high01, high23));
  group[Vectors - 1] = vreinterpretq_s8_u16(vzip2q_u16(high01, high23));
}

// Sums of four columns, a register of four rows each, `stride` apart: to the rows below `rows` of
// c, or on top of what is there.
static inline void store_rows(const int32x4_t* sum, int stride, int rows, int32_t* c,
                              int64_t c_stride, bool add = false) {
  const int32x4_t even01 = vtrn1q_s32(sum[0], sum[stride]);
  const int32x4_t odd01 = vtrn2q_s32(sum[0], sum[stride]);
  const int32x4_t even23 = vtrn1q_s32(sum[2 * stride], sum[3 * stride]);
  const int32x4_t odd23 = vtrn2q_s32(sum[2 * stride], sum[3 * stride]);
  const int32x4_t row[4] = {
      vcombine_s32(vget_low_s32(even01), vget_low_s32(even23)),
      vcombine_s32(vget_low_s32(odd01), vget_low_s32(odd23)),
      vcombine_s32(vget_high_s32(even01), vget_high_s32(even23)),
      vcombine_s32(vget_high_s32(odd01), vget_high_s32(odd23)),
  };
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    int32_t* to = c + i * c_stride;
    if (i < rows) vst1q_s32(to, add ? vaddq_s32(row[i], vld1q_s32(to)) : row[i]);
  }
}

}  // namespace
}  // namespace octavo
