// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes in one zmm register (see lanes16_scalar.h for what each function means).
#pragma once
#include <stdint.h>

#include "kernels/common/x86.h"

namespace {

struct F16 {
  __m512 v;
};
struct I16 {
  __m512i v;
};
struct M16 {
  __mmask16 v;
};
// Vector registers that an F16 takes, and that there are.
constexpr int kLaneRegisters = 1;
constexpr int kRegisters = 32;
struct H32 {  // lane l of both I16 side by side
  __m512i v;
};
struct B64 {
  __m512i v;
};

static inline __mmask16 mask_n(int n) { return (__mmask16)((1u << n) - 1u); }

static inline F16 set1(float x) { return {_mm512_set1_ps(x)}; }
static inline I16 set1_i(int32_t x) { return {_mm512_set1_epi32(x)}; }
static inline F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline I16 load_i(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
static inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
static inline void store_i(int32_t* p, I16 a) { _mm512_storeu_si512(p, a.v); }
static inline F16 load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(mask_n(n), p)}; }
static inline I16 load_i_n(const int32_t* p, int n) {
  return {_mm512_maskz_loadu_epi32(mask_n(n), p)};
}
static inline void store_n(float* p, F16 a, int n) { _mm512_mask_storeu_ps(p, mask_n(n), a.v); }
static inline void store_i_n(int32_t* p, I16 a, int n) {
  _mm512_mask_storeu_epi32(p, mask_n(n), a.v);
}

static inline F16 add(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline F16 sub(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline F16 mul(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline F16 div(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline F16 fnma(F16 a, F16 b, F16 c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
static inline F16 min(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
static inline F16 max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline F16 least(F16 a, F16 b) { return min(a, b); }
static inline F16 most(F16 a, F16 b) { return max(a, b); }
static inline F16 abs(F16 a) { return {_mm512_abs_ps(a.v)}; }
static inline F16 neg(F16 a) {
  return {_mm512_castsi512_ps(
      _mm512_xor_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32((int)0x80000000u)))};
}
static inline I16 add_i(I16 a, I16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
static inline I16 sub_i(I16 a, I16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
static inline I16 mul_i(I16 a, I16 b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
static inline I16 max_i(I16 a, I16 b) { return {_mm512_max_epi32(a.v, b.v)}; }

static inline M16 is_nan(F16 a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
static inline F16 select(M16 m, F16 a, F16 b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
static inline M16 first_n(int n) { return {mask_n(n)}; }
static inline M16 not_below(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NLT_UQ)}; }
static inline F16 keep(M16 m, F16 a) { return {_mm512_maskz_mov_ps(m.v, a.v)}; }
static inline bool any(M16 m) { return m.v != 0; }
static inline M16 either_nan(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_UNORD_Q)}; }
static inline M16 either(M16 a, M16 b) { return {(__mmask16)(a.v | b.v)}; }
static inline M16 none() { return {0}; }

static inline I16 to_int(F16 a) { return {_mm512_cvtps_epi32(a.v)}; }
static inline F16 to_float(I16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
static inline F16 low_bits_as_exponent(F16 a) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 23))};
}

static inline I16 not_below_zero(I16 a) { return {_mm512_max_epi32(a.v, _mm512_setzero_si512())}; }
static inline void store_s8(int8_t* p, I16 a) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(a.v));
}
static inline void store_sign_abs_n(uint8_t* sign, uint8_t* magnitude, I16 a, int n) {
  const __m128i code = _mm512_cvtsepi32_epi8(a.v);
  _mm_mask_storeu_epi8(sign, mask_n(n), _mm_cmpgt_epi8(_mm_setzero_si128(), code));
  _mm_mask_storeu_epi8(magnitude, mask_n(n), _mm_abs_epi8(code));
}
static inline void store_sign_abs(uint8_t* sign, uint8_t* magnitude, I16 a) {
  store_sign_abs_n(sign, magnitude, a, 16);
}
static inline void store_u8(uint8_t* p, I16 a) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtusepi32_epi8(not_below_zero(a).v));
}
static inline void store_s16(int16_t* p, I16 a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtsepi32_epi16(a.v));
}
static inline void store_u16(uint16_t* p, I16 a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtusepi32_epi16(not_below_zero(a).v));
}
static inline void store_s8_n(int8_t* p, I16 a, int n) {
  _mm_mask_storeu_epi8(p, mask_n(n), _mm512_cvtsepi32_epi8(a.v));
}
static inline void store_u8_n(uint8_t* p, I16 a, int n) {
  _mm_mask_storeu_epi8(p, mask_n(n), _mm512_cvtusepi32_epi8(not_below_zero(a).v));
}
static inline void store_s16_n(int16_t* p, I16 a, int n) {
  _mm256_mask_storeu_epi16(p, mask_n(n), _mm512_cvtsepi32_epi16(a.v));
}
static inline void store_u16_n(uint16_t* p, I16 a, int n) {
  _mm256_mask_storeu_epi16(p, mask_n(n), _mm512_cvtusepi32_epi16(not_below_zero(a).v));
}

// packs works within 128-bit quarters: this permutation puts the fours back in order.
static inline __m512i in_order(__m512i fours) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, fours);
}
static inline B64 saturated_s8(I16 a, I16 b, I16 c, I16 d) {
  const __m512i fours =
      _mm512_packs_epi16(_mm512_packs_epi32(a.v, b.v), _mm512_packs_epi32(c.v, d.v));
  return {in_order(fours)};
}
static inline B64 moved_s8(I16 a, I16 b, I16 c, I16 d, int move, int least) {
  const __m512i by = _mm512_set1_epi16((int16_t)move);
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(a.v, b.v), by);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(c.v, d.v), by);
  const __m512i fours =
      _mm512_max_epi8(_mm512_packs_epi16(low, high), _mm512_set1_epi8((char)least));
  return {in_order(fours)};
}
static inline B64 plus_128(B64 x) { return {_mm512_xor_si512(x.v, _mm512_set1_epi8((char)0x80))}; }
static inline B64 signs(B64 x) { return {_mm512_movm_epi8(_mm512_movepi8_mask(x.v))}; }
static inline B64 magnitudes(B64 x) { return {_mm512_abs_epi8(x.v)}; }
static inline void store_bytes(uint8_t* p, B64 x) { _mm512_storeu_si512(p, x.v); }
static inline void store_sixteens(int8_t* p, int64_t stride, B64 x) {
  _mm_storeu_si128((__m128i*)p, _mm512_castsi512_si128(x.v));
  _mm_storeu_si128((__m128i*)(p + stride), _mm512_extracti32x4_epi32(x.v, 1));
  _mm_storeu_si128((__m128i*)(p + 2 * stride), _mm512_extracti32x4_epi32(x.v, 2));
  _mm_storeu_si128((__m128i*)(p + 3 * stride), _mm512_extracti32x4_epi32(x.v, 3));
}

// Two halves of one cache line: the write-combining buffer joins them.
static inline void stream(float* p, F16 a) {
  _mm256_stream_ps(p, _mm512_castps512_ps256(a.v));
  _mm256_stream_ps(p + 8, _mm512_extractf32x8_ps(a.v, 1));
}
static inline void stream_s8(int8_t* p, I16 a) {
  _mm_stream_si128((__m128i*)p, _mm512_cvtsepi32_epi8(a.v));
}
static inline void stream_u8(uint8_t* p, I16 a) {
  _mm_stream_si128((__m128i*)p, _mm512_cvtusepi32_epi8(not_below_zero(a).v));
}
static inline void stream_s16(int16_t* p, I16 a) {
  _mm256_stream_si256((__m256i*)p, _mm512_cvtsepi32_epi16(a.v));
}
static inline void stream_u16(uint16_t* p, I16 a) {
  _mm256_stream_si256((__m256i*)p, _mm512_cvtusepi32_epi16(not_below_zero(a).v));
}
static inline void stream_fence() { _mm_sfence(); }
static inline void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }

static inline I16 load_s8(const int8_t* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p))};
}
static inline I16 load_u8(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))};
}
static inline I16 load_s16(const int16_t* p) {
  return {_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)p))};
}
static inline I16 load_u16(const uint16_t* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p))};
}
static inline I16 load_s8_n(const int8_t* p, int n) {
  return {_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask_n(n), p))};
}
static inline I16 load_u8_n(const uint8_t* p, int n) {
  return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask_n(n), p))};
}
static inline I16 load_s16_n(const int16_t* p, int n) {
  return {_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask_n(n), p))};
}
static inline I16 load_u16_n(const uint16_t* p, int n) {
  return {_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask_n(n), p))};
}

static inline F16 load_half(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))};
}
static inline F16 load_half_n(const uint16_t* p, int n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask_n(n), p))};
}
static inline F16 bfloats(I16 a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16))}; }
static inline F16 load_bfloat(const uint16_t* p) { return bfloats(load_u16(p)); }
static inline F16 load_bfloat_n(const uint16_t* p, int n) { return bfloats(load_u16_n(p, n)); }
static inline void store_half(uint16_t* p, F16 a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
static inline void store_half_n(uint16_t* p, F16 a, int n) {
  _mm256_mask_storeu_epi16(p, mask_n(n), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
static inline void stream_half(uint16_t* p, F16 a) {
  _mm256_stream_si256((__m256i*)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
static inline F16 round_half(F16 a) {
  return {_mm512_cvtph_ps(_mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT))};
}

#define OCTAVO_REDUCE(name, op)                                                                \
  static inline float name(F16 a) {                                                            \
    const __m256 w8 =                                                                          \
        _mm256_##op##_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));         \
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
static inline void split_words(I16 a, I16 b, H32& upper, H32& lower) {
  const __m512i turned = _mm512_rol_epi32(b.v, 16);
  upper.v = _mm512_mask_blend_epi16(0xaaaaaaaau, turned, a.v);
  lower.v = _mm512_mask_blend_epi16(0xaaaaaaaau, a.v, turned);
}
static inline I16 float_bits(F16 a) { return {_mm512_castps_si512(a.v)}; }
static inline F16 as_floats(I16 bits) { return {_mm512_castsi512_ps(bits.v)}; }
static inline H32 set1_h(int16_t x) { return {_mm512_set1_epi16(x)}; }
static inline H32 add_h(H32 x, H32 y) { return {_mm512_add_epi16(x.v, y.v)}; }
static inline H32 times_8(H32 x) { return {_mm512_slli_epi16(x.v, 3)}; }
static inline H32 min_signed(H32 x, H32 y) { return {_mm512_min_epi16(x.v, y.v)}; }
static inline H32 min_unsigned(H32 x, H32 y) { return {_mm512_min_epu16(x.v, y.v)}; }
static inline bool any_below(H32 x, int16_t limit) {
  const __m512i above = _mm512_subs_epi16(x.v, _mm512_set1_epi16(limit));
  return _mm512_test_epi16_mask(above, _mm512_set1_epi16((int16_t)0x8000)) != 0;
}
static inline bool any_below_unsigned(H32 x, uint16_t limit) {
  const __m512i missing = _mm512_subs_epu16(_mm512_set1_epi16((int16_t)limit), x.v);
  return _mm512_test_epi16_mask(missing, missing) != 0;
}
// split_words puts a lane of b below the one of a.
static inline __m256i sorted_s8(H32 x) {
  const __m256i eights = _mm256_setr_epi8(1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14,  //
                                          1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14);
  const __m512i words = _mm512_adds_epi16(x.v, _mm512_set1_epi16(-128));
  const __m256i bytes = _mm256_shuffle_epi8(_mm512_cvtsepi16_epi8(words), eights);
  return _mm256_permute4x64_epi64(bytes, 0xd8);
}
static inline __m256i sorted_u8(H32 x) {
  return _mm256_xor_si256(sorted_s8(x), _mm256_set1_epi8((char)0x80));
}
static inline void store_u8(uint8_t* p, H32 x) { _mm256_storeu_si256((__m256i*)p, sorted_u8(x)); }
static inline void store_s8(int8_t* p, H32 x) { _mm256_storeu_si256((__m256i*)p, sorted_s8(x)); }
static inline void stream_u8(uint8_t* p, H32 x) { _mm256_stream_si256((__m256i*)p, sorted_u8(x)); }
static inline void stream_s8(int8_t* p, H32 x) { _mm256_stream_si256((__m256i*)p, sorted_s8(x)); }

}  // namespace
