// SPDX-License-Identifier: Apache-2.0
// A group of a bitmap weight in registers: a byte of its mask picks a shuffle of eight values out
// of a table (2 KiB).
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/neon.h"
#include "kernels/expand_s8/kernel.h"
#include "kernels/expand_s8/shuffles.h"

namespace octavo {
namespace {

// The 64 codes of a group; returns where the next group's values begin. There is no instruction
// that counts bits of a number: all eight bytes are counted at once, and a product adds them up.
static inline const int8_t* expand_group(uint64_t mask, const int8_t* value, int8x16_t (&out)[4]) {
  const uint64_t counts = vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(vcreate_u8(mask))), 0);
  const uint64_t ends = counts * 0x0101010101010101u;  // byte i: values of bytes 0 to i
  const uint64_t begins = ends << 8;
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) {
    const uint8_t* low = kShuffles.index[mask >> 16 * j & 255];
    const uint8_t* high = kShuffles.index[mask >> (16 * j + 8) & 255];
    const int8x16_t from = vcombine_s8(vld1_s8(value + (begins >> 16 * j & 255)),
                                       vld1_s8(value + (begins >> (16 * j + 8) & 255)));
    // 128 + 8 still shuffles to zero.
    const uint8x16_t index = vcombine_u8(vld1_u8(low), vadd_u8(vld1_u8(high), vdup_n_u8(8)));
    out[j] = vqtbl1q_s8(from, index);
  }
  return value + (ends >> 56);
}

}  // namespace
}  // namespace octavo
