// SPDX-License-Identifier: Apache-2.0
// Registers: 4 rows x 16 columns = 16 sums; outputs are as many and wait in memory.
#include "kernels/common/lanes16_neon.h"

#include "kernels/gemm_groups/neon_lanes.h"

namespace octavo {
namespace {

struct Dot {
  static constexpr int kByteInputs = 32;
  using Sums = int32x4_t;
  static Sums begin(int32x4_t sum) { return sum; }
  // The codes of four inputs, `four` of 16, meet those of four columns.
  static void add(Sums& part, int8x16_t w, int8x16_t x, int four) {
    switch (four) {
      case 0: part = vdotq_laneq_s32(part, w, x, 0); break;
      case 1: part = vdotq_laneq_s32(part, w, x, 1); break;
      case 2: part = vdotq_laneq_s32(part, w, x, 2); break;
      default: part = vdotq_laneq_s32(part, w, x, 3);
    }
  }
  static int32x4_t end(int32x4_t, Sums part) { return part; }
};

}  // namespace

void gemm_groups_s8f32_4x16x8_neon_dotprod(const GemmGroupsArgs& args) noexcept {
  gemm<Dot, 4>(args);
}

}  // namespace octavo
