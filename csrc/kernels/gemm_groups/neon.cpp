// SPDX-License-Identifier: Apache-2.0
// Without dot products: in int16, where 32 inputs of 4 bits have room, 8 in a lane, and 8 signed
// bytes, then pairs of neighbours to int32.
#include "kernels/common/lanes16_neon.h"

#include "kernels/gemm_groups/neon_lanes.h"

namespace octavo {
namespace {

struct Dot {
  static constexpr int kByteInputs = 8;
  struct Sums {
    int16x8_t two, next_two;  // columns, four lanes each
  };
  static Sums begin(int32x4_t) { return {vdupq_n_s16(0), vdupq_n_s16(0)}; }
  static void add(Sums& part, int8x16_t w, int8x16_t x, int four) {
    const int32x4_t fours = vreinterpretq_s32_s8(x);
    int32x2_t codes;
    switch (four) {
      case 0: codes = vdup_laneq_s32(fours, 0); break;
      case 1: codes = vdup_laneq_s32(fours, 1); break;
      case 2: codes = vdup_laneq_s32(fours, 2); break;
      default: codes = vdup_laneq_s32(fours, 3);
    }
    part.two = vmlal_s8(part.two, vget_low_s8(w), vreinterpret_s8_s32(codes));
    part.next_two = vmlal_s8(part.next_two, vget_high_s8(w), vreinterpret_s8_s32(codes));
  }
  static int32x4_t end(int32x4_t sum, Sums part) {
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(part.two), vpaddlq_s16(part.next_two)));
  }
};

}  // namespace

void gemm_groups_s8f32_2x16x8_neon(const GemmGroupsArgs& args) noexcept { gemm<Dot, 2>(args); }

}  // namespace octavo
