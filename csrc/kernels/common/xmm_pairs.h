// SPDX-License-Identifier: Apache-2.0
// A ymm register as two of 128 bits, so that what is written for AVX2 also runs with SSE4.1;
// include it first. It takes the place of the intrinsics that these kernels use. What comes with
// AVX2 and is no pair of instructions here: multiply-adds are rounded once in software, and half
// floats are converted one by one.
#pragma once
#include <stdint.h>

#include "kernels/common/compiler.h"
#include "kernels/common/half1.h"
#include "kernels/common/x86.h"

#define OCTAVO_XMM_PAIRS 1

namespace {

struct PairI {
  __m128i lo, hi;
};
struct PairF {
  __m128 lo, hi;
};

static inline PairI pair(__m128i lo, __m128i hi) { return {lo, hi}; }
static inline PairF pair(__m128 lo, __m128 hi) { return {lo, hi}; }
static inline PairF as_floats(PairI a) { return {_mm_castsi128_ps(a.lo), _mm_castsi128_ps(a.hi)}; }
static inline PairI as_ints(PairF a) { return {_mm_castps_si128(a.lo), _mm_castps_si128(a.hi)}; }
static inline int signs_of_lanes(PairF a) {
  return _mm_movemask_ps(a.lo) | _mm_movemask_ps(a.hi) << 4;
}

static inline PairI load_ints(const void* p) {
  return {_mm_loadu_si128((const __m128i*)p), _mm_loadu_si128((const __m128i*)p + 1)};
}
static inline PairF load_floats(const float* p) { return {_mm_loadu_ps(p), _mm_loadu_ps(p + 4)}; }
static inline void store_ints(void* p, PairI a) {
  _mm_storeu_si128((__m128i*)p, a.lo);
  _mm_storeu_si128((__m128i*)p + 1, a.hi);
}
static inline void store_floats(float* p, PairF a) {
  _mm_storeu_ps(p, a.lo);
  _mm_storeu_ps(p + 4, a.hi);
}
static inline void stream_ints(void* p, PairI a) {
  _mm_stream_si128((__m128i*)p, a.lo);
  _mm_stream_si128((__m128i*)p + 1, a.hi);
}
static inline void stream_floats(float* p, PairF a) {
  _mm_stream_ps(p, a.lo);
  _mm_stream_ps(p + 4, a.hi);
}

static inline void forget(PairI& a) {
  OCTAVO_FORGET_VECTOR(a.lo);
  OCTAVO_FORGET_VECTOR(a.hi);
}

// The sum of fma_in_double in fused.h for two values, whose products are exact.
static inline __m128d odd_sum(__m128d product, __m128d c) {
  const __m128d sum = _mm_add_pd(product, c), added = _mm_sub_pd(sum, product);
  const __m128d lost =
      _mm_add_pd(_mm_sub_pd(product, _mm_sub_pd(sum, added)), _mm_sub_pd(c, added));
  const __m128d zero = _mm_setzero_pd();
  const __m128d inexact = _mm_or_pd(_mm_cmplt_pd(lost, zero), _mm_cmplt_pd(zero, lost));
  const __m128i bits = _mm_castpd_si128(sum), one = _mm_set1_epi64x(1);
  const __m128i even = _mm_cmpeq_epi64(_mm_and_si128(bits, one), _mm_setzero_si128());
  const __m128i signs = _mm_srai_epi32(_mm_castpd_si128(_mm_xor_pd(lost, sum)), 31);
  const __m128i step = _mm_or_si128(_mm_shuffle_epi32(signs, 0xf5), one);  // 1, or -1
  const __m128i taken = _mm_and_si128(_mm_castpd_si128(inexact), even);
  return _mm_castsi128_pd(_mm_add_epi64(bits, _mm_and_si128(step, taken)));
}

// A sum in double that is no tie between floats rounds to the float that the exact one does. So
// does one that is, or whose float is subnormal, once it is made odd.
OCTAVO_NOINLINE static __m128 fused_multiply_add(__m128 a, __m128 b, __m128 c) {
  const __m128 a1 = _mm_movehl_ps(a, a), b1 = _mm_movehl_ps(b, b), c1 = _mm_movehl_ps(c, c);
  const __m128d product0 = _mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)), c0 = _mm_cvtps_pd(c);
  const __m128d product1 = _mm_mul_pd(_mm_cvtps_pd(a1), _mm_cvtps_pd(b1)), c2 = _mm_cvtps_pd(c1);
  const __m128d sum0 = _mm_add_pd(product0, c0), sum1 = _mm_add_pd(product1, c2);
  const __m128 sum = _mm_movelh_ps(_mm_cvtpd_ps(sum0), _mm_cvtpd_ps(sum1));
  const __m128 words = _mm_shuffle_ps(_mm_castpd_ps(sum0), _mm_castpd_ps(sum1), 0x88);
  const __m128i lost = _mm_and_si128(_mm_castps_si128(words), _mm_set1_epi32(0x1fffffff));
  const __m128i tie = _mm_cmpeq_epi32(lost, _mm_set1_epi32(0x10000000));
  const __m128 size = _mm_andnot_ps(_mm_set1_ps(-0.0f), sum);
  const __m128 small = _mm_cmple_ps(size, _mm_set1_ps(1.17549435e-38f));
  if (_mm_movemask_ps(_mm_or_ps(_mm_castsi128_ps(tie), small)) == 0) return sum;
  return _mm_movelh_ps(_mm_cvtpd_ps(odd_sum(product0, c0)), _mm_cvtpd_ps(odd_sum(product1, c2)));
}

OCTAVO_NOINLINE static PairF floats_of_halves(__m128i x) {
  alignas(16) uint16_t half[8];
  alignas(16) float out[8];
  _mm_store_si128((__m128i*)half, x);
  for (int i = 0; i < 8; ++i) out[i] = half_to_float(half[i]);
  return {_mm_load_ps(out), _mm_load_ps(out + 4)};
}
OCTAVO_NOINLINE static __m128i halves_of_floats(PairF x) {
  alignas(16) uint16_t half[8];
  alignas(16) float in[8];
  _mm_store_ps(in, x.lo);
  _mm_store_ps(in + 4, x.hi);
  for (int i = 0; i < 8; ++i) half[i] = float_to_half(in[i]);
  return _mm_load_si128((const __m128i*)half);
}

// Lanes of 32 bits whose mask has its sign set; only those are touched.
OCTAVO_NOINLINE static PairF load_masked(const void* p, PairI mask) {
  alignas(16) float out[8];
  const int lanes = signs_of_lanes(as_floats(mask));
  for (int i = 0; i < 8; ++i) {
    out[i] = 0.0f;
    if (lanes >> i & 1) memcpy(out + i, (const char*)p + 4 * i, 4);
  }
  return {_mm_load_ps(out), _mm_load_ps(out + 4)};
}
OCTAVO_NOINLINE static void store_masked(void* p, PairI mask, PairF x) {
  alignas(16) float in[8];
  const int lanes = signs_of_lanes(as_floats(mask));
  _mm_store_ps(in, x.lo);
  _mm_store_ps(in + 4, x.hi);
  for (int i = 0; i < 8; ++i) {
    if (lanes >> i & 1) memcpy((char*)p + 4 * i, in + i, 4);
  }
}

template <int Compare>
static inline __m128 compared(__m128 a, __m128 b) {
  static_assert(Compare == _CMP_UNORD_Q || Compare == _CMP_NLT_UQ, "others are not needed");
  return Compare == _CMP_UNORD_Q ? _mm_cmpunord_ps(a, b) : _mm_cmpnlt_ps(a, b);
}
// Halves of a and b, which bits 0 and 1 and bits 4 and 5 number.
template <int Choice>
static inline PairI halves_of_two(PairI a, PairI b) {
  const __m128i halves[4] = {a.lo, a.hi, b.lo, b.hi};
  return {halves[Choice & 3], halves[Choice >> 4 & 3]};
}
template <int Order>
static inline PairI quarters(PairI a) {
  static_assert(Order == 0xd8, "others are not needed");
  return {_mm_unpacklo_epi64(a.lo, a.hi), _mm_unpackhi_epi64(a.lo, a.hi)};
}

template <class A, class Op>
static inline auto each(A a, Op op) {
  return pair(op(a.lo), op(a.hi));
}
template <class A, class B, class Op>
static inline auto each(A a, B b, Op op) {
  return pair(op(a.lo, b.lo), op(a.hi, b.hi));
}

static inline PairI blended(PairI a, PairI b, PairI mask) {
  return {_mm_blendv_epi8(a.lo, b.lo, mask.lo), _mm_blendv_epi8(a.hi, b.hi, mask.hi)};
}
static inline PairF blended(PairF a, PairF b, PairF mask) {
  return {_mm_blendv_ps(a.lo, b.lo, mask.lo), _mm_blendv_ps(a.hi, b.hi, mask.hi)};
}
static inline PairF fused(PairF a, PairF b, PairF c) {
  return {fused_multiply_add(a.lo, b.lo, c.lo), fused_multiply_add(a.hi, b.hi, c.hi)};
}

}  // namespace

#undef OCTAVO_FORGET_VECTOR
#define OCTAVO_FORGET_VECTOR(v) forget(v)
#define __m256i PairI
#define __m256 PairF
// Clang's are macros.
#undef _mm256_blend_epi16
#undef _mm256_cmp_ps
#undef _mm256_cvtps_ph
#undef _mm256_extract_epi32
#undef _mm256_extractf128_ps
#undef _mm256_extracti128_si256
#undef _mm256_permute2x128_si256
#undef _mm256_permute4x64_epi64
#undef _mm256_shuffle_ps

#define OCTAVO_EACH(op, a) each(a, [](auto x) { return op(x); })
#define OCTAVO_EACH_BY(op, a, n) each(a, [](auto x) { return op(x, n); })
#define OCTAVO_EACH_TWO(op, a, b) each(a, b, [](auto x, auto y) { return op(x, y); })
#define OCTAVO_EACH_TWO_BY(op, a, b, n) each(a, b, [](auto x, auto y) { return op(x, y, n); })

#define _mm256_add_epi16(a, b) OCTAVO_EACH_TWO(_mm_add_epi16, a, b)
#define _mm256_add_epi32(a, b) OCTAVO_EACH_TWO(_mm_add_epi32, a, b)
#define _mm256_add_epi64(a, b) OCTAVO_EACH_TWO(_mm_add_epi64, a, b)
#define _mm256_adds_epi16(a, b) OCTAVO_EACH_TWO(_mm_adds_epi16, a, b)
#define _mm256_max_epi8(a, b) OCTAVO_EACH_TWO(_mm_max_epi8, a, b)
#define _mm256_add_ps(a, b) OCTAVO_EACH_TWO(_mm_add_ps, a, b)
#define _mm256_and_ps(a, b) OCTAVO_EACH_TWO(_mm_and_ps, a, b)
#define _mm256_and_si256(a, b) OCTAVO_EACH_TWO(_mm_and_si128, a, b)
#define _mm256_andnot_ps(a, b) OCTAVO_EACH_TWO(_mm_andnot_ps, a, b)
#define _mm256_cmpgt_epi16(a, b) OCTAVO_EACH_TWO(_mm_cmpgt_epi16, a, b)
#define _mm256_cmpgt_epi8(a, b) OCTAVO_EACH_TWO(_mm_cmpgt_epi8, a, b)
#define _mm256_div_ps(a, b) OCTAVO_EACH_TWO(_mm_div_ps, a, b)
#define _mm256_madd_epi16(a, b) OCTAVO_EACH_TWO(_mm_madd_epi16, a, b)
#define _mm256_maddubs_epi16(a, b) OCTAVO_EACH_TWO(_mm_maddubs_epi16, a, b)
#define _mm256_max_epi32(a, b) OCTAVO_EACH_TWO(_mm_max_epi32, a, b)
#define _mm256_max_ps(a, b) OCTAVO_EACH_TWO(_mm_max_ps, a, b)
#define _mm256_min_epi16(a, b) OCTAVO_EACH_TWO(_mm_min_epi16, a, b)
#define _mm256_min_epu16(a, b) OCTAVO_EACH_TWO(_mm_min_epu16, a, b)
#define _mm256_min_ps(a, b) OCTAVO_EACH_TWO(_mm_min_ps, a, b)
#define _mm256_mul_ps(a, b) OCTAVO_EACH_TWO(_mm_mul_ps, a, b)
#define _mm256_mullo_epi32(a, b) OCTAVO_EACH_TWO(_mm_mullo_epi32, a, b)
#define _mm256_or_ps(a, b) OCTAVO_EACH_TWO(_mm_or_ps, a, b)
#define _mm256_or_si256(a, b) OCTAVO_EACH_TWO(_mm_or_si128, a, b)
#define _mm256_packs_epi16(a, b) OCTAVO_EACH_TWO(_mm_packs_epi16, a, b)
#define _mm256_packs_epi32(a, b) OCTAVO_EACH_TWO(_mm_packs_epi32, a, b)
#define _mm256_packus_epi16(a, b) OCTAVO_EACH_TWO(_mm_packus_epi16, a, b)
#define _mm256_packus_epi32(a, b) OCTAVO_EACH_TWO(_mm_packus_epi32, a, b)
#define _mm256_sad_epu8(a, b) OCTAVO_EACH_TWO(_mm_sad_epu8, a, b)
#define _mm256_shuffle_epi8(a, b) OCTAVO_EACH_TWO(_mm_shuffle_epi8, a, b)
#define _mm256_sign_epi8(a, b) OCTAVO_EACH_TWO(_mm_sign_epi8, a, b)
#define _mm256_sub_epi32(a, b) OCTAVO_EACH_TWO(_mm_sub_epi32, a, b)
#define _mm256_sub_ps(a, b) OCTAVO_EACH_TWO(_mm_sub_ps, a, b)
#define _mm256_subs_epu16(a, b) OCTAVO_EACH_TWO(_mm_subs_epu16, a, b)
#define _mm256_unpackhi_epi16(a, b) OCTAVO_EACH_TWO(_mm_unpackhi_epi16, a, b)
#define _mm256_unpackhi_epi32(a, b) OCTAVO_EACH_TWO(_mm_unpackhi_epi32, a, b)
#define _mm256_unpackhi_epi64(a, b) OCTAVO_EACH_TWO(_mm_unpackhi_epi64, a, b)
#define _mm256_unpackhi_epi8(a, b) OCTAVO_EACH_TWO(_mm_unpackhi_epi8, a, b)
#define _mm256_unpacklo_epi16(a, b) OCTAVO_EACH_TWO(_mm_unpacklo_epi16, a, b)
#define _mm256_unpacklo_epi32(a, b) OCTAVO_EACH_TWO(_mm_unpacklo_epi32, a, b)
#define _mm256_unpacklo_epi64(a, b) OCTAVO_EACH_TWO(_mm_unpacklo_epi64, a, b)
#define _mm256_unpacklo_epi8(a, b) OCTAVO_EACH_TWO(_mm_unpacklo_epi8, a, b)
#define _mm256_xor_ps(a, b) OCTAVO_EACH_TWO(_mm_xor_ps, a, b)
#define _mm256_xor_si256(a, b) OCTAVO_EACH_TWO(_mm_xor_si128, a, b)
#define _mm256_abs_epi8(a) OCTAVO_EACH(_mm_abs_epi8, a)
#define _mm256_cvtepi32_ps(a) OCTAVO_EACH(_mm_cvtepi32_ps, a)
#define _mm256_cvtps_epi32(a) OCTAVO_EACH(_mm_cvtps_epi32, a)
#define _mm256_slli_epi16(a, n) OCTAVO_EACH_BY(_mm_slli_epi16, a, n)
#define _mm256_slli_epi32(a, n) OCTAVO_EACH_BY(_mm_slli_epi32, a, n)
#define _mm256_srai_epi16(a, n) OCTAVO_EACH_BY(_mm_srai_epi16, a, n)
#define _mm256_srli_epi16(a, n) OCTAVO_EACH_BY(_mm_srli_epi16, a, n)
#define _mm256_blend_epi16(a, b, n) OCTAVO_EACH_TWO_BY(_mm_blend_epi16, a, b, n)
#define _mm256_shuffle_ps(a, b, n) OCTAVO_EACH_TWO_BY(_mm_shuffle_ps, a, b, n)
#define _mm256_cmp_ps(a, b, n) OCTAVO_EACH_TWO(compared<n>, a, b)
#define _mm256_blendv_epi8(a, b, m) blended(a, b, m)
#define _mm256_blendv_ps(a, b, m) blended(a, b, m)
#define _mm256_fmadd_ps(a, b, c) fused(a, b, c)
#define _mm256_fnmadd_ps(a, b, c) fused(_mm256_xor_ps(a, _mm256_set1_ps(-0.0f)), b, c)

#define _mm256_set1_epi8(x) pair(_mm_set1_epi8(x), _mm_set1_epi8(x))
#define _mm256_set1_epi16(x) pair(_mm_set1_epi16(x), _mm_set1_epi16(x))
#define _mm256_set1_epi32(x) pair(_mm_set1_epi32(x), _mm_set1_epi32(x))
#define _mm256_set1_ps(x) pair(_mm_set1_ps(x), _mm_set1_ps(x))
#define _mm256_setzero_si256() pair(_mm_setzero_si128(), _mm_setzero_si128())
#define _mm256_setzero_ps() pair(_mm_setzero_ps(), _mm_setzero_ps())
#define _mm256_setr_epi8(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ...) \
  pair(_mm_setr_epi8(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p), _mm_setr_epi8(__VA_ARGS__))
#define _mm256_broadcast_ss(p) pair(_mm_load1_ps(p), _mm_load1_ps(p))
#define _mm256_broadcastsi128_si256(x) pair(x, x)
#define _mm256_castsi128_si256(x) _mm256_zextsi128_si256(x)
#define _mm256_zextsi128_si256(x) pair(x, _mm_setzero_si128())
#define _mm256_set_m128i(hi, lo) pair(lo, hi)
#define _mm256_castps_si256(a) as_ints(a)
#define _mm256_castsi256_ps(a) as_floats(a)
#define _mm256_castsi256_si128(a) ((a).lo)
#define _mm256_castps256_ps128(a) ((a).lo)
#define _mm256_extracti128_si256(a, n) ((n) == 0 ? (a).lo : (a).hi)
#define _mm256_extractf128_ps(a, n) ((n) == 0 ? (a).lo : (a).hi)
#define _mm256_extract_epi32(a, n) _mm_extract_epi32(_mm256_extracti128_si256(a, (n) / 4), (n) % 4)
#define _mm256_permute2x128_si256(a, b, n) halves_of_two<n>(a, b)
#define _mm256_permute4x64_epi64(a, n) quarters<n>(a)
#define _mm256_cvtepi8_epi16(x) pair(_mm_cvtepi8_epi16(x), _mm_cvtepi8_epi16(_mm_srli_si128(x, 8)))
#define _mm256_cvtepi8_epi32(x) pair(_mm_cvtepi8_epi32(x), _mm_cvtepi8_epi32(_mm_srli_si128(x, 4)))
#define _mm256_cvtepu8_epi32(x) pair(_mm_cvtepu8_epi32(x), _mm_cvtepu8_epi32(_mm_srli_si128(x, 4)))
#define _mm256_cvtepi16_epi32(x) \
  pair(_mm_cvtepi16_epi32(x), _mm_cvtepi16_epi32(_mm_srli_si128(x, 8)))
#define _mm256_cvtepu16_epi32(x) \
  pair(_mm_cvtepu16_epi32(x), _mm_cvtepu16_epi32(_mm_srli_si128(x, 8)))
#define _mm256_cvtph_ps(x) floats_of_halves(x)
#define _mm256_cvtps_ph(a, rounding) halves_of_floats(a)
#define _mm256_movemask_epi8(a) (_mm_movemask_epi8((a).lo) | _mm_movemask_epi8((a).hi) << 16)
#define _mm256_movemask_ps(a) signs_of_lanes(a)
#define _mm256_testz_si256(a, b) (_mm_testz_si128((a).lo, (b).lo) & _mm_testz_si128((a).hi, (b).hi))

#define _mm256_loadu_si256(p) load_ints(p)
#define _mm256_loadu_ps(p) load_floats(p)
#define _mm256_maskload_epi32(p, mask) as_ints(load_masked(p, mask))
#define _mm256_maskload_ps(p, mask) load_masked(p, mask)
#define _mm256_storeu_si256(p, a) store_ints(p, a)
#define _mm256_storeu_ps(p, a) store_floats(p, a)
#define _mm256_maskstore_epi32(p, mask, a) store_masked(p, mask, as_floats(a))
#define _mm256_maskstore_ps(p, mask, a) store_masked(p, mask, a)
#define _mm256_stream_si256(p, a) stream_ints(p, a)
#define _mm256_stream_ps(p, a) stream_floats(p, a)
