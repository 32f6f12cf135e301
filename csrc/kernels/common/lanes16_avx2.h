// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes in two ymm registers (see lanes16_scalar.h for what each function means).
#pragma once
#include <stdint.h>
#include <string.h>

#include "kernels/common/x86.h"

namespace {

struct F16 {
  __m256 lo, hi;
};
struct I16 {
  __m256i lo, hi;
};
struct M16 {
  __m256 lo, hi;
};
// Vector registers that an F16 takes, and that there are.
#if defined(OCTAVO_XMM_PAIRS)
constexpr int kLaneRegisters = 4;
#else
constexpr int kLaneRegisters = 2;
#endif
constexpr int kRegisters = 16;
struct H32 {  // one register per I16; its lanes l and l + 8 lie side by side
  __m256i a, b;
};
struct B64 {
  __m256i lo, hi;
};

// Sliding this window gives a mask of n leading true lanes out of 16.
alignas(64) static const int32_t kMaskWindow[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                                    -1, -1, -1, -1, -1, 0,  0,  0,  0,  0,  0,
                                                    0,  0,  0,  0,  0,  0,  0,  0,  0,  0};
static inline __m256i mask_lo(int n) {
  return _mm256_loadu_si256((const __m256i*)(kMaskWindow + 16 - n));
}
static inline __m256i mask_hi(int n) {
  return _mm256_loadu_si256((const __m256i*)(kMaskWindow + 24 - n));
}

static inline F16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline I16 set1_i(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline I16 load_i(const int32_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 8))};
}
static inline void store(float* p, F16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
static inline void store_i(int32_t* p, I16 a) {
  _mm256_storeu_si256((__m256i*)p, a.lo);
  _mm256_storeu_si256((__m256i*)(p + 8), a.hi);
}
static inline F16 load_n(const float* p, int n) {
  return {_mm256_maskload_ps(p, mask_lo(n)), _mm256_maskload_ps(p + 8, mask_hi(n))};
}
static inline I16 load_i_n(const int32_t* p, int n) {
  return {_mm256_maskload_epi32((const int*)p, mask_lo(n)),
          _mm256_maskload_epi32((const int*)(p + 8), mask_hi(n))};
}
static inline void store_n(float* p, F16 a, int n) {
  _mm256_maskstore_ps(p, mask_lo(n), a.lo);
  _mm256_maskstore_ps(p + 8, mask_hi(n), a.hi);
}
static inline void store_i_n(int32_t* p, I16 a, int n) {
  _mm256_maskstore_epi32((int*)p, mask_lo(n), a.lo);
  _mm256_maskstore_epi32((int*)(p + 8), mask_hi(n), a.hi);
}

#define OCTAVO_PAIR(type, name, op) \
  static inline type name(type a, type b) { return {op(a.lo, b.lo), op(a.hi, b.hi)}; }
OCTAVO_PAIR(F16, add, _mm256_add_ps)
OCTAVO_PAIR(F16, sub, _mm256_sub_ps)
OCTAVO_PAIR(F16, mul, _mm256_mul_ps)
OCTAVO_PAIR(F16, div, _mm256_div_ps)
OCTAVO_PAIR(F16, min, _mm256_min_ps)
OCTAVO_PAIR(F16, max, _mm256_max_ps)
OCTAVO_PAIR(I16, add_i, _mm256_add_epi32)
OCTAVO_PAIR(I16, sub_i, _mm256_sub_epi32)
OCTAVO_PAIR(I16, mul_i, _mm256_mullo_epi32)
OCTAVO_PAIR(I16, max_i, _mm256_max_epi32)
#undef OCTAVO_PAIR

static inline F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline F16 fnma(F16 a, F16 b, F16 c) {
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
static inline F16 least(F16 a, F16 b) { return min(a, b); }
static inline F16 most(F16 a, F16 b) { return max(a, b); }
static inline F16 abs(F16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
static inline F16 neg(F16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(sign, a.lo), _mm256_xor_ps(sign, a.hi)};
}

static inline M16 is_nan(F16 a) {
  return {_mm256_cmp_ps(a.lo, a.lo, _CMP_UNORD_Q), _mm256_cmp_ps(a.hi, a.hi, _CMP_UNORD_Q)};
}
static inline F16 select(M16 m, F16 a, F16 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}
static inline M16 first_n(int n) {
  return {_mm256_castsi256_ps(mask_lo(n)), _mm256_castsi256_ps(mask_hi(n))};
}
static inline M16 not_below(F16 a, F16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_NLT_UQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_NLT_UQ)};
}
static inline F16 keep(M16 m, F16 a) {
  return {_mm256_and_ps(m.lo, a.lo), _mm256_and_ps(m.hi, a.hi)};
}
static inline bool any(M16 m) { return _mm256_movemask_ps(_mm256_or_ps(m.lo, m.hi)) != 0; }
static inline M16 either_nan(F16 a, F16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_UNORD_Q), _mm256_cmp_ps(a.hi, b.hi, _CMP_UNORD_Q)};
}
static inline M16 either(M16 a, M16 b) {
  return {_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi)};
}
static inline M16 none() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }

static inline I16 to_int(F16 a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
static inline F16 to_float(I16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
static inline F16 low_bits_as_exponent(F16 a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.lo), 23)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.hi), 23))};
}

// packs works within 128-bit halves: the permutation puts the quadwords back in order.
static inline __m256i pack_s16(I16 a) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(a.lo, a.hi), 0xd8);
}
static inline __m128i pack_s8(I16 a) {
  const __m256i s16 = pack_s16(a);
  return _mm_packs_epi16(_mm256_castsi256_si128(s16), _mm256_extracti128_si256(s16, 1));
}
static inline __m128i pack_u8(I16 a) {
  const __m256i s16 = pack_s16(a);
  return _mm_packus_epi16(_mm256_castsi256_si128(s16), _mm256_extracti128_si256(s16, 1));
}
static inline __m256i pack_u16(I16 a) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(a.lo, a.hi), 0xd8);
}
static inline void store_s8(int8_t* p, I16 a) { _mm_storeu_si128((__m128i*)p, pack_s8(a)); }
static inline void store_sign_abs(uint8_t* sign, uint8_t* magnitude, I16 a) {
  const __m128i code = pack_s8(a);
  _mm_storeu_si128((__m128i*)sign, _mm_cmpgt_epi8(_mm_setzero_si128(), code));
  _mm_storeu_si128((__m128i*)magnitude, _mm_abs_epi8(code));
}
static inline void store_u8(uint8_t* p, I16 a) { _mm_storeu_si128((__m128i*)p, pack_u8(a)); }
static inline void store_s16(int16_t* p, I16 a) { _mm256_storeu_si256((__m256i*)p, pack_s16(a)); }
static inline void store_u16(uint16_t* p, I16 a) { _mm256_storeu_si256((__m256i*)p, pack_u16(a)); }

// Fours of bytes of both 128-bit halves in turn.
static inline __m256i fours_in_turn(__m256i x) {
#if defined(OCTAVO_XMM_PAIRS)
  return {_mm_unpacklo_epi32(x.lo, x.hi), _mm_unpackhi_epi32(x.lo, x.hi)};
#else
  return _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
#endif
}
static inline __m256i pack_s8x32(I16 a, I16 b) {
  return fours_in_turn(
      _mm256_packs_epi16(_mm256_packs_epi32(a.lo, a.hi), _mm256_packs_epi32(b.lo, b.hi)));
}
static inline B64 saturated_s8(I16 a, I16 b, I16 c, I16 d) {
  return {pack_s8x32(a, b), pack_s8x32(c, d)};
}
static inline __m256i moved_s8x32(I16 a, I16 b, __m256i move, __m256i least) {
  const __m256i first = _mm256_adds_epi16(_mm256_packs_epi32(a.lo, a.hi), move);
  const __m256i second = _mm256_adds_epi16(_mm256_packs_epi32(b.lo, b.hi), move);
  return fours_in_turn(_mm256_max_epi8(_mm256_packs_epi16(first, second), least));
}
static inline B64 moved_s8(I16 a, I16 b, I16 c, I16 d, int move, int least) {
  const __m256i by = _mm256_set1_epi16((int16_t)move), from = _mm256_set1_epi8((char)least);
  return {moved_s8x32(a, b, by, from), moved_s8x32(c, d, by, from)};
}
static inline B64 plus_128(B64 x) {
  const __m256i high = _mm256_set1_epi8((char)0x80);
  return {_mm256_xor_si256(x.lo, high), _mm256_xor_si256(x.hi, high)};
}
static inline B64 signs(B64 x) {
  const __m256i zero = _mm256_setzero_si256();
  return {_mm256_cmpgt_epi8(zero, x.lo), _mm256_cmpgt_epi8(zero, x.hi)};
}
static inline B64 magnitudes(B64 x) { return {_mm256_abs_epi8(x.lo), _mm256_abs_epi8(x.hi)}; }
static inline void store_bytes(uint8_t* p, B64 x) {
  _mm256_storeu_si256((__m256i*)p, x.lo);
  _mm256_storeu_si256((__m256i*)(p + 32), x.hi);
}
static inline void store_sixteens(int8_t* p, int64_t stride, B64 x) {
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(x.lo));
  _mm_storeu_si128((__m128i*)(p + stride), _mm256_extracti128_si256(x.lo, 1));
  _mm_storeu_si128((__m128i*)(p + 2 * stride), _mm256_castsi256_si128(x.hi));
  _mm_storeu_si128((__m128i*)(p + 3 * stride), _mm256_extracti128_si256(x.hi, 1));
}

static inline void stream(float* p, F16 a) {
  _mm256_stream_ps(p, a.lo);
  _mm256_stream_ps(p + 8, a.hi);
}
static inline void stream_s8(int8_t* p, I16 a) { _mm_stream_si128((__m128i*)p, pack_s8(a)); }
static inline void stream_u8(uint8_t* p, I16 a) { _mm_stream_si128((__m128i*)p, pack_u8(a)); }
static inline void stream_s16(int16_t* p, I16 a) { _mm256_stream_si256((__m256i*)p, pack_s16(a)); }
static inline void stream_u16(uint16_t* p, I16 a) { _mm256_stream_si256((__m256i*)p, pack_u16(a)); }
static inline void stream_fence() { _mm_sfence(); }
static inline void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }

// Tails go through a stack slot: a byte mask store (maskmovdqu) is slower and bypasses the cache.
static inline void store_s8_n(int8_t* p, I16 a, int n) {
  alignas(16) int8_t slot[16];
  store_s8(slot, a);
  memcpy(p, slot, (size_t)n);
}
static inline void store_sign_abs_n(uint8_t* sign, uint8_t* magnitude, I16 a, int n) {
  alignas(16) uint8_t slot[32];
  store_sign_abs(slot, slot + 16, a);
  memcpy(sign, slot, (size_t)n);
  memcpy(magnitude, slot + 16, (size_t)n);
}
static inline void store_u8_n(uint8_t* p, I16 a, int n) {
  alignas(16) uint8_t slot[16];
  store_u8(slot, a);
  memcpy(p, slot, (size_t)n);
}
static inline void store_s16_n(int16_t* p, I16 a, int n) {
  alignas(32) int16_t slot[16];
  store_s16(slot, a);
  memcpy(p, slot, (size_t)n * 2);
}
static inline void store_u16_n(uint16_t* p, I16 a, int n) {
  alignas(32) uint16_t slot[16];
  store_u16(slot, a);
  memcpy(p, slot, (size_t)n * 2);
}

static inline I16 load_s8(const int8_t* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)),
          _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
}
static inline I16 load_u8(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)),
          _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
}
static inline I16 load_s16(const int16_t* p) {
  return {_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
static inline I16 load_u16(const uint16_t* p) {
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
#define OCTAVO_LOAD_N(name, full, type)          \
  static inline I16 name(const type* p, int n) { \
    type slot[16] = {0};                         \
    memcpy(slot, p, (size_t)n * sizeof(type));   \
    return full(slot);                           \
  }
OCTAVO_LOAD_N(load_s8_n, load_s8, int8_t)
OCTAVO_LOAD_N(load_u8_n, load_u8, uint8_t)
OCTAVO_LOAD_N(load_s16_n, load_s16, int16_t)
OCTAVO_LOAD_N(load_u16_n, load_u16, uint16_t)
#undef OCTAVO_LOAD_N

static inline F16 load_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
static inline F16 load_half_n(const uint16_t* p, int n) {
  uint16_t slot[16] = {0};
  memcpy(slot, p, (size_t)n * 2);
  return load_half(slot);
}
static inline F16 bfloats(I16 a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a.lo, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(a.hi, 16))};
}
static inline F16 load_bfloat(const uint16_t* p) { return bfloats(load_u16(p)); }
static inline F16 load_bfloat_n(const uint16_t* p, int n) { return bfloats(load_u16_n(p, n)); }
static inline void store_half(uint16_t* p, F16 a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128((__m128i*)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
static inline void store_half_n(uint16_t* p, F16 a, int n) {
  uint16_t slot[16];
  store_half(slot, a);
  memcpy(p, slot, (size_t)n * 2);
}
static inline void stream_half(uint16_t* p, F16 a) {
  _mm_stream_si128((__m128i*)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_stream_si128((__m128i*)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
static inline F16 round_half(F16 a) {
  return {_mm256_cvtph_ps(_mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT)),
          _mm256_cvtph_ps(_mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT))};
}

#define OCTAVO_REDUCE(name, op)                                                                \
  static inline float name(F16 a) {                                                            \
    const __m256 w8 = _mm256_##op##_ps(a.lo, a.hi);                                            \
    const __m128 w4 = _mm_##op##_ps(_mm256_castps256_ps128(w8), _mm256_extractf128_ps(w8, 1)); \
    const __m128 w2 = _mm_##op##_ps(w4, _mm_movehl_ps(w4, w4));                                \
    return _mm_cvtss_f32(_mm_##op##_ss(w2, _mm_shuffle_ps(w2, w2, 1)));                        \
  }
OCTAVO_REDUCE(reduce_add, add)
OCTAVO_REDUCE(reduce_min, min)
OCTAVO_REDUCE(reduce_max, max)
#undef OCTAVO_REDUCE

// vcvtps2dq gives INT32_MIN for what it cannot hold.
static inline I16 to_int_checked(F16 a) { return to_int(a); }
// With hi turned by 16 bits, upper words come from even places of hi and odd ones of lo; lower
// words the other way round.
static inline void split_words_1(I16 a, __m256i& upper, __m256i& lower) {
  const __m256i turn = _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,  //
                                        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  const __m256i turned = _mm256_shuffle_epi8(a.hi, turn);
  upper = _mm256_blend_epi16(turned, a.lo, 0xaa);
  lower = _mm256_blend_epi16(a.lo, turned, 0xaa);
}
static inline void split_words(I16 a, I16 b, H32& upper, H32& lower) {
  split_words_1(a, upper.a, lower.a);
  split_words_1(b, upper.b, lower.b);
}
static inline I16 float_bits(F16 a) {
  return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}
static inline F16 as_floats(I16 bits) {
  return {_mm256_castsi256_ps(bits.lo), _mm256_castsi256_ps(bits.hi)};
}
static inline H32 set1_h(int16_t x) { return {_mm256_set1_epi16(x), _mm256_set1_epi16(x)}; }
static inline H32 add_h(H32 x, H32 y) {
  return {_mm256_add_epi16(x.a, y.a), _mm256_add_epi16(x.b, y.b)};
}
static inline H32 times_8(H32 x) { return {_mm256_slli_epi16(x.a, 3), _mm256_slli_epi16(x.b, 3)}; }
static inline H32 min_signed(H32 x, H32 y) {
  return {_mm256_min_epi16(x.a, y.a), _mm256_min_epi16(x.b, y.b)};
}
static inline H32 min_unsigned(H32 x, H32 y) {
  return {_mm256_min_epu16(x.a, y.a), _mm256_min_epu16(x.b, y.b)};
}
static inline bool any_below(H32 x, int16_t limit) {
  const __m256i least = _mm256_min_epi16(x.a, x.b);
  return _mm256_movemask_epi8(_mm256_cmpgt_epi16(_mm256_set1_epi16(limit), least)) != 0;
}
static inline bool any_below_unsigned(H32 x, uint16_t limit) {
  const __m256i least = _mm256_min_epu16(x.a, x.b);
  const __m256i missing = _mm256_subs_epu16(_mm256_set1_epi16((int16_t)limit), least);
  return !_mm256_testz_si256(missing, missing);
}
// Bytes from words of split_words, packed within 128-bit halves: sorted by fours, then the fours.
static inline __m256i sorted_u8(H32 x) {
  const __m256i fours = _mm256_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14,  //
                                         1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14);
  return fours_in_turn(_mm256_shuffle_epi8(_mm256_packus_epi16(x.a, x.b), fours));
}
static inline __m256i sorted_s8(H32 x) {
  return _mm256_xor_si256(sorted_u8(x), _mm256_set1_epi8((char)0x80));
}
static inline void store_u8(uint8_t* p, H32 x) { _mm256_storeu_si256((__m256i*)p, sorted_u8(x)); }
static inline void store_s8(int8_t* p, H32 x) { _mm256_storeu_si256((__m256i*)p, sorted_s8(x)); }
static inline void stream_u8(uint8_t* p, H32 x) { _mm256_stream_si256((__m256i*)p, sorted_u8(x)); }
static inline void stream_s8(int8_t* p, H32 x) { _mm256_stream_si256((__m256i*)p, sorted_s8(x)); }

}  // namespace
