// SPDX-License-Identifier: Apache-2.0
// Registers: 12 sums, 2 of b, 1 of a: twelve chains, as in gemm_s8. Packed 8 sums, 4 of b, 1 of a
// and the mask.
#include "kernels/common/lanes16_avx2.h"

#include "kernels/gemm_groups/ymm.h"

namespace octavo {
namespace {

struct Dot {
  static constexpr int kInputs = 32;
  static __m256i begin(__m256i sum) { return sum; }
  static __m256i add(__m256i part, __m256i w, __m256i x) {
    return _mm256_dpbusd_avx_epi32(part, w, x);
  }
  static __m256i end(__m256i, __m256i part) { return part; }
};

}  // namespace

void gemm_groups_s8f32_4x16x8_avxvnni(const GemmGroupsArgs& args) noexcept {
  gemm<Dot, Dot, Dot, 4, 6>(args);
}

}  // namespace octavo
