// SPDX-License-Identifier: Apache-2.0
// depthwise_s8 for AVX-512 VNNI: sixteen channels of four rows in a register. Registers: 8 sums, a
// weight; columns come from L1.
#include "kernels/common/lanes16_avx512vnni.h"

namespace octavo {
namespace {

constexpr int kRowsOfUnit = 4, kOutputs = 4, kStrip = 2;

using Sum = I16;
using UnitWeights = __m512i;

static inline void interleave(const int8_t* const* p, uint8_t* x) {
  const auto row = [&](int t) { return _mm_loadu_si128((const __m128i*)p[t]); };
  __m512i rows = _mm512_castsi128_si512(row(0));
  rows = _mm512_inserti32x4(rows, row(1), 1);
  rows = _mm512_inserti32x4(rows, row(2), 2);
  rows = _mm512_inserti32x4(rows, row(3), 3);
  const __m512i fours = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i in_turn =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  rows = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(fours, rows), in_turn);
  _mm512_store_si512(x, _mm512_xor_si512(rows, _mm512_set1_epi8((char)0x80)));
}

// Codes are 128 higher here.
static inline I16 start_of(I16 offset, I16 weight_sum) {
  return {_mm512_sub_epi32(offset.v, _mm512_slli_epi32(weight_sum.v, 7))};
}
static inline UnitWeights weights_of(const int8_t* w, int u) {
  return _mm512_loadu_si512(w + 64 * u);
}
static inline Sum first_sum(I16 start) { return start; }
static inline Sum add_products(Sum sum, const uint8_t* x, UnitWeights w) {
  return {_mm512_dpbusd_epi32(sum.v, _mm512_load_si512(x), w)};
}
static inline I16 finished(Sum sum, I16) { return sum; }

}  // namespace
}  // namespace octavo

#include "kernels/depthwise_s8/strip.h"

namespace octavo {

void depthwise_s8_avx512vnni(const DepthwiseS8Args& args) noexcept { depthwise(args); }

}  // namespace octavo
