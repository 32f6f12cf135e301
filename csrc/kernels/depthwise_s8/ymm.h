// SPDX-License-Identifier: Apache-2.0
// depthwise_s8 with ymm registers and no dot product of bytes: pairs of rows as int16, whose
// products vpmaddwd adds up exactly. Two rows of four are a pair, so half of a unit can be left
// out. Registers: 8 sums, 2 of weights; columns come from L1.
#pragma once
#include "kernels/common/lanes16_avx2.h"

namespace octavo {
namespace {

constexpr int kRowsOfUnit = 2, kOutputs = 4, kStrip = 1;

using Sum = I16;
struct UnitWeights {
  __m256i lo, hi;
};

static inline __m256i load256(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline void store256(void* p, __m256i v) { _mm256_storeu_si256((__m256i*)p, v); }

static inline void interleave(const int8_t* const* p, uint8_t* x) {
  const __m128i a = _mm_loadu_si128((const __m128i*)p[0]);
  const __m128i b = _mm_loadu_si128((const __m128i*)p[1]);
  store256(x, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
  store256(x + 32, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
}

static inline I16 start_of(I16 offset, I16) { return offset; }

// Bytes 0 and 1 of each four, or 2 and 3, become the upper ones of two words, then the words.
alignas(64) static const int8_t kPairs[2][32] = {
    {-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13,
     -1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13},
    {-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15,
     -1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15}};
static inline UnitWeights weights_of(const int8_t* w, int u) {
  const int8_t* four = w + u / 2 * 64;
  const __m256i pair = load256(kPairs[u % 2]);
  return {_mm256_srai_epi16(_mm256_shuffle_epi8(load256(four), pair), 8),
          _mm256_srai_epi16(_mm256_shuffle_epi8(load256(four + 32), pair), 8)};
}
static inline Sum first_sum(I16 start) { return start; }
static inline Sum add_products(Sum sum, const uint8_t* x, UnitWeights w) {
  return {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(load256(x), w.lo)),
          _mm256_add_epi32(sum.hi, _mm256_madd_epi16(load256(x + 32), w.hi))};
}
static inline I16 finished(Sum sum, I16) { return sum; }

}  // namespace
}  // namespace octavo

#include "kernels/depthwise_s8/strip.h"
