// SPDX-License-Identifier: Apache-2.0
// Groups of four codes of 8 bits (see code_groups_scalar.h for what each function means).
#pragma once
#include "kernels/common/lanes16_avx512vnni.h"

namespace {

constexpr int kGroupCodes = 4;
constexpr int kQueryOffset = 128;
constexpr bool kSignedWeights = false;

static inline I16 dot(I16 sum, I16 a, I16 b) { return {_mm512_dpbusd_epi32(sum.v, a.v, b.v)}; }

// From fours of bytes of one operand to fours of bytes of one lane.
static inline I16 interleave_bytes(__m512i fours) {
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return {_mm512_shuffle_epi8(fours, _mm512_broadcast_i32x4(order))};
}
static inline I16 signed_groups(const I16* x) {
  return interleave_bytes(
      _mm512_packs_epi16(_mm512_packs_epi32(x[0].v, x[1].v), _mm512_packs_epi32(x[2].v, x[3].v)));
}
static inline I16 weight_groups(const I16* x) {
  return interleave_bytes(
      _mm512_packus_epi16(_mm512_packs_epi32(x[0].v, x[1].v), _mm512_packs_epi32(x[2].v, x[3].v)));
}

// Lanes of 128 bits to out, so many apart.
static inline void store_lanes_apart(int32_t* out, int64_t apart, __m512i x) {
  _mm_storeu_si128((__m128i*)out, _mm512_castsi512_si128(x));
  _mm_storeu_si128((__m128i*)(out + apart), _mm512_extracti32x4_epi32(x, 1));
  _mm_storeu_si128((__m128i*)(out + 2 * apart), _mm512_extracti32x4_epi32(x, 2));
  _mm_storeu_si128((__m128i*)(out + 3 * apart), _mm512_extracti32x4_epi32(x, 3));
}

template <bool Queries>
static inline void put_four_rows(int32_t* out, const I16* rows, I16& sums) {
  const __m512i fours = _mm512_packs_epi16(_mm512_packs_epi32(rows[0].v, rows[1].v),
                                           _mm512_packs_epi32(rows[2].v, rows[3].v));
  if (!Queries) sums = dot(sums, set1_i(0x01010101), {fours});
  const __m512i offset = _mm512_set1_epi8(Queries ? (char)kQueryOffset : 0);
  store_lanes_apart(out, 16, _mm512_xor_si512(fours, offset));
}

// Of four rows, lanes of 128 bits apart.
static inline __m512i largest_of_four(const I16* x) {
  const __m512i a = _mm512_max_epi32(_mm512_unpacklo_epi32(x[0].v, x[1].v),
                                     _mm512_unpackhi_epi32(x[0].v, x[1].v));
  const __m512i b = _mm512_max_epi32(_mm512_unpacklo_epi32(x[2].v, x[3].v),
                                     _mm512_unpackhi_epi32(x[2].v, x[3].v));
  return _mm512_max_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
// Four lanes of 128 bits of each operand become one, of which op makes one of two.
#define OCTAVO_JOIN_LANES(name, op)                                                \
  static inline __m512i name(__m512i a, __m512i b) {                               \
    return op(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd)); \
  }
OCTAVO_JOIN_LANES(join_largest, _mm512_max_epi32)
OCTAVO_JOIN_LANES(join_sums, _mm512_add_epi32)
#undef OCTAVO_JOIN_LANES

static inline I16 largest_of_rows(const I16* rows) {
  const __m512i low = join_largest(largest_of_four(rows), largest_of_four(rows + 4));
  const __m512i high = join_largest(largest_of_four(rows + 8), largest_of_four(rows + 12));
  return {join_largest(low, high)};
}

static inline void put_starts(int32_t* start, const I16* sums) {
  const __m512i sum = join_sums(join_sums(sums[0].v, sums[1].v), join_sums(sums[2].v, sums[3].v));
  store_i(start, {_mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7))});
}

}  // namespace
