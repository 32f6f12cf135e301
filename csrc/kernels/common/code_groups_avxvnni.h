// SPDX-License-Identifier: Apache-2.0
// Groups of four codes of 8 bits (see code_groups_scalar.h for what each function means).
#pragma once
#include "kernels/common/code_groups_ymm.h"

namespace {

constexpr int kGroupCodes = 4;
constexpr int kQueryOffset = 128;
constexpr bool kSignedWeights = false;

static inline I16 dot(I16 sum, I16 a, I16 b) {
  return {_mm256_dpbusd_avx_epi32(sum.lo, a.lo, b.lo), _mm256_dpbusd_avx_epi32(sum.hi, a.hi, b.hi)};
}

// From fours of bytes of one operand to fours of bytes of one lane.
static inline __m256i interleave_bytes(__m256i fours) {
  return _mm256_shuffle_epi8(
      fours, _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                              0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}
static inline __m256i pack_four(__m256i a, __m256i b, __m256i c, __m256i d) {
  return _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
}
static inline __m256i pack_weights(__m256i a, __m256i b, __m256i c, __m256i d) {
  return _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
}
static inline I16 signed_groups(const I16* x) {
  return {interleave_bytes(pack_four(x[0].lo, x[1].lo, x[2].lo, x[3].lo)),
          interleave_bytes(pack_four(x[0].hi, x[1].hi, x[2].hi, x[3].hi))};
}
static inline I16 weight_groups(const I16* x) {
  return {interleave_bytes(pack_weights(x[0].lo, x[1].lo, x[2].lo, x[3].lo)),
          interleave_bytes(pack_weights(x[0].hi, x[1].hi, x[2].hi, x[3].hi))};
}

template <bool Queries>
static inline void put_four_rows(int32_t* out, const I16* rows, I16& sums) {
  const I16 groups = {pack_four(rows[0].lo, rows[1].lo, rows[2].lo, rows[3].lo),
                      pack_four(rows[0].hi, rows[1].hi, rows[2].hi, rows[3].hi)};
  if (!Queries) sums = dot(sums, set1_i(0x01010101), groups);
  const __m256i offset = _mm256_set1_epi8(Queries ? (char)kQueryOffset : 0);
  store_halves(out, 1, _mm256_xor_si256(groups.lo, offset));
  store_halves(out + 32, 1, _mm256_xor_si256(groups.hi, offset));
}

// Of eight rows, -128 times the sums of four lanes of 128 bits each.
static inline __m256i eight_starts(I16 first, I16 second) {
  const __m256i a = _mm256_add_epi32(first.lo, first.hi);
  const __m256i b = _mm256_add_epi32(second.lo, second.hi);
  const __m256i sum = _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                                       _mm256_permute2x128_si256(a, b, 0x31));
  return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sum, 7));
}
static inline void put_starts(int32_t* start, const I16* sums) {
  store_i(start, {eight_starts(sums[0], sums[1]), eight_starts(sums[2], sums[3])});
}

}  // namespace
