// SPDX-License-Identifier: Apache-2.0
// dot_peak with ymm registers.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/dot_peak/kernel.h"

namespace octavo {
namespace {

// The exact sequence of gemm_s8 where groups pair: seven operations for 64 products.
// Few chains do: what links one round to the next is a single addition.
template <int Chains>
static inline void dot_peak(const DotPeakArgs& args) {
  __m256i sum[Chains];
  OCTAVO_UNROLL
  for (int i = 0; i < Chains; ++i) sum[i] = _mm256_set1_epi32(i);
  [[maybe_unused]] volatile int32_t zeros = 0, fives = 0x05050505, fours = 0x04040404;
  __m256i sign = _mm256_setzero_si256(), b = _mm256_set1_epi8(5), other = _mm256_set1_epi8(4);
  const __m256i magnitude = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  for (int64_t it = 0; it < args.iterations; ++it) {
    OCTAVO_UNROLL
    for (int i = 0; i < Chains; ++i) {
      // Opaque operands: without them the product is loop-invariant and leaves the loop.
      OCTAVO_HIDE_VECTOR(sign, _mm256_set1_epi32(zeros));
      OCTAVO_HIDE_VECTOR(b, _mm256_set1_epi32(fives));
      OCTAVO_HIDE_VECTOR(other, _mm256_set1_epi32(fours));
      const __m256i signed_b = _mm256_xor_si256(b, sign),
                    signed_other = _mm256_xor_si256(other, sign);
      const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(magnitude, signed_b),
                                             _mm256_maddubs_epi16(magnitude, signed_other));
      sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs, ones));
    }
  }
  OCTAVO_UNROLL
  for (int i = 1; i < Chains; ++i) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
  *args.sink = _mm256_extract_epi32(sum[0], 0);
  *args.operations = args.iterations * Chains * 64 * 2;
}

}  // namespace
}  // namespace octavo
