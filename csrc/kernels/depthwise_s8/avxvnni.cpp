// SPDX-License-Identifier: Apache-2.0
// depthwise_s8 for AVX-VNNI: sixteen channels of four rows in two registers. Registers: 8 sums, 2
// of weights; columns come from L1.
#include "kernels/common/lanes16_avx2.h"

namespace octavo {
namespace {

constexpr int kRowsOfUnit = 4, kOutputs = 4, kStrip = 1;

using Sum = I16;
struct UnitWeights {
  __m256i lo, hi;
};

static inline __m256i load256(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }

static inline void interleave(const int8_t* const* p, uint8_t* x) {
  const auto row = [&](int t) { return _mm_loadu_si128((const __m128i*)p[t]); };
  const __m128i high = _mm_set1_epi8((char)0x80);
  const __m128i low01 = _mm_xor_si128(_mm_unpacklo_epi8(row(0), row(1)), high);
  const __m128i low23 = _mm_xor_si128(_mm_unpacklo_epi8(row(2), row(3)), high);
  const __m128i high01 = _mm_xor_si128(_mm_unpackhi_epi8(row(0), row(1)), high);
  const __m128i high23 = _mm_xor_si128(_mm_unpackhi_epi8(row(2), row(3)), high);
  __m128i* to = (__m128i*)x;
  _mm_store_si128(to, _mm_unpacklo_epi16(low01, low23));
  _mm_store_si128(to + 1, _mm_unpackhi_epi16(low01, low23));
  _mm_store_si128(to + 2, _mm_unpacklo_epi16(high01, high23));
  _mm_store_si128(to + 3, _mm_unpackhi_epi16(high01, high23));
}

// Codes are 128 higher here.
static inline I16 start_of(I16 offset, I16 weight_sum) {
  return {_mm256_sub_epi32(offset.lo, _mm256_slli_epi32(weight_sum.lo, 7)),
          _mm256_sub_epi32(offset.hi, _mm256_slli_epi32(weight_sum.hi, 7))};
}
static inline UnitWeights weights_of(const int8_t* w, int u) {
  return {load256(w + 64 * u), load256(w + 64 * u + 32)};
}
static inline Sum first_sum(I16 start) { return start; }
static inline Sum add_products(Sum sum, const uint8_t* x, UnitWeights w) {
  return {_mm256_dpbusd_avx_epi32(sum.lo, load256(x), w.lo),
          _mm256_dpbusd_avx_epi32(sum.hi, load256(x + 32), w.hi)};
}
static inline I16 finished(Sum sum, I16) { return sum; }

}  // namespace
}  // namespace octavo

#include "kernels/depthwise_s8/strip.h"

namespace octavo {

void depthwise_s8_avxvnni(const DepthwiseS8Args& args) noexcept { depthwise(args); }

}  // namespace octavo
