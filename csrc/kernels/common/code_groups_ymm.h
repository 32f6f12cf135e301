// SPDX-License-Identifier: Apache-2.0
// What code_groups_avx2.h and code_groups_avxvnni.h share.
#pragma once
#include "kernels/common/lanes16_avx2.h"

namespace {

// Of four rows, lanes of 128 bits apart.
static inline __m256i largest_of_four(const I16* rows) {
  __m256i m[4];
  for (int r = 0; r < 4; ++r) m[r] = _mm256_max_epi32(rows[r].lo, rows[r].hi);
  const __m256i a =
      _mm256_max_epi32(_mm256_unpacklo_epi32(m[0], m[1]), _mm256_unpackhi_epi32(m[0], m[1]));
  const __m256i b =
      _mm256_max_epi32(_mm256_unpacklo_epi32(m[2], m[3]), _mm256_unpackhi_epi32(m[2], m[3]));
  return _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}
static inline __m256i largest_of_eight(const I16* rows) {
  const __m256i a = largest_of_four(rows), b = largest_of_four(rows + 4);
  return _mm256_max_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                          _mm256_permute2x128_si256(a, b, 0x31));
}
static inline I16 largest_of_rows(const I16* rows) {
  return {largest_of_eight(rows), largest_of_eight(rows + 8)};
}

// The halves to out and out + 16 * apart.
static inline void store_halves(int32_t* out, int apart, __m256i x) {
  _mm_storeu_si128((__m128i*)out, _mm256_castsi256_si128(x));
  _mm_storeu_si128((__m128i*)(out + 16 * apart), _mm256_extracti128_si256(x, 1));
}

}  // namespace
