// SPDX-License-Identifier: Apache-2.0
// Groups of two codes of 16 bits (see code_groups_scalar.h for what each function means). vpmaddwd
// takes as many multiplications as vpmaddubsw and what widens its sums, saturates nothing, and
// needs no signs apart.
#pragma once
#include "kernels/common/code_groups_ymm.h"

namespace {

constexpr int kGroupCodes = 2;
constexpr int kQueryOffset = 0;
constexpr bool kSignedWeights = false;

static inline I16 dot(I16 sum, I16 a, I16 b) {
  return {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.lo, b.lo)),
          _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.hi, b.hi))};
}

static inline __m256i interleave_words(__m256i fours) {
  return _mm256_shuffle_epi8(
      fours, _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15,  //
                              0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
}
static inline I16 signed_groups(const I16* codes) {
  return {interleave_words(_mm256_packs_epi32(codes[0].lo, codes[1].lo)),
          interleave_words(_mm256_packs_epi32(codes[0].hi, codes[1].hi))};
}
static inline I16 weight_groups(const I16* codes) {
  return {interleave_words(_mm256_packus_epi32(codes[0].lo, codes[1].lo)),
          interleave_words(_mm256_packus_epi32(codes[0].hi, codes[1].hi))};
}

// Half of each row; the rows' first groups of a 128-bit lane, then their second ones.
static inline void put_eight_codes(int32_t* out, __m256i r0, __m256i r1, __m256i r2, __m256i r3) {
  const __m256 a = _mm256_castsi256_ps(_mm256_packs_epi32(r0, r1));
  const __m256 b = _mm256_castsi256_ps(_mm256_packs_epi32(r2, r3));
  store_halves(out, 2, _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)));
  store_halves(out + 16, 2, _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)));
}
template <bool Queries>
static inline void put_four_rows(int32_t* out, const I16* rows, I16&) {
  put_eight_codes(out, rows[0].lo, rows[1].lo, rows[2].lo, rows[3].lo);
  put_eight_codes(out + 64, rows[0].hi, rows[1].hi, rows[2].hi, rows[3].hi);
}

static inline void put_starts(int32_t*, const I16*) {}

}  // namespace
