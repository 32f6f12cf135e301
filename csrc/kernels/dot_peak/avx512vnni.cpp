// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/dot_peak/kernel.h"

namespace octavo {

void dot_peak_u8s8_avx512vnni(const DotPeakArgs& args) noexcept {
  constexpr int kChains = 16;
  __m512i sum[kChains];
  OCTAVO_UNROLL
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
  for (int64_t it = 0; it < args.iterations; ++it) {
    OCTAVO_UNROLL
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
      OCTAVO_FORGET_VECTOR(sum[i]);  // GCC would move the sums from register to register
    }
  }
  OCTAVO_UNROLL
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  *args.sink = _mm_cvtsi128_si32(_mm512_castsi512_si128(sum[0]));
  *args.operations = args.iterations * kChains * 64 * 2;
}

}  // namespace octavo
