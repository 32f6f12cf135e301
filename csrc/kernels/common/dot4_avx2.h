// SPDX-License-Identifier: Apache-2.0
// Products of signed codes a with slots b, four neighbours to a sum, exact on AVX2: |b| as uint8
// times a, complemented where b is negative. |b| * ~a falls short of b * a by |b|, which does not
// depend on a: sums start at what is missing in total (negative_sum of WindowedPanels and
// BsrPanels). Two products add up to -2 * 128 * 128 in int16 at worst,
// which fits, and to 2 * 128 * 127 at most.
#pragma once
#include "kernels/common/x86.h"

namespace {

struct Slots32 {
  __m256i magnitude, negative;
};

static inline Slots32 slots32(__m256i b) {
  return {_mm256_abs_epi8(b), _mm256_cmpgt_epi8(_mm256_setzero_si256(), b)};
}

// Of two neighbours each, in int16.
static inline __m256i dot2(__m256i a, const Slots32& b) {
  return _mm256_maddubs_epi16(b.magnitude, _mm256_xor_si256(a, b.negative));
}

static inline __m256i dot4(__m256i sum, __m256i a, const Slots32& b) {
  const __m256i pairs = dot2(a, b);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Two of them at once, both for sum[0]. Products add up in int16 first: for each pair of
// neighbours, the four magnitudes may not exceed 255 in total.
constexpr int kPairSums = 1;

static inline void dot4_pair(__m256i (&sum)[kPairSums], __m256i a0, const Slots32& b0, __m256i a1,
                             const Slots32& b1) {
  const __m256i pairs = _mm256_add_epi16(dot2(a0, b0), dot2(a1, b1));
  sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline __m256i first_sums(__m256i negative_sum) { return negative_sum; }

}  // namespace
