// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes in four NEON registers (see lanes16_scalar.h for what each function means). What
// ARM does otherwise than the contract says takes a comparison more: minima and maxima of NaN and
// of zeros, floats that no int32 can hold.
#pragma once
#include <stdint.h>
#include <string.h>

#include "kernels/common/compiler.h"
#include "kernels/common/neon.h"

namespace {

struct F16 {
  float32x4_t q0, q1, q2, q3;
};
struct I16 {
  int32x4_t q0, q1, q2, q3;
};
struct M16 {
  uint32x4_t q0, q1, q2, q3;
};
// Vector registers that an F16 takes, and that there are.
constexpr int kLaneRegisters = 4;
constexpr int kRegisters = 32;
struct H32 {
  int16x8_t q0, q1, q2, q3;
};
struct B64 {
  int8x16_t q0, q1, q2, q3;
};

// Sliding this window gives a mask of n leading true lanes out of 16.
alignas(64) static const uint32_t kMaskWindow[32] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u,
                                                     ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};

#define OCTAVO_UNARY(Out, name, In, op) \
  static inline Out name(In a) { return {op(a.q0), op(a.q1), op(a.q2), op(a.q3)}; }
#define OCTAVO_BINARY(Out, name, In, op)                                     \
  static inline Out name(In a, In b) {                                       \
    return {op(a.q0, b.q0), op(a.q1, b.q1), op(a.q2, b.q2), op(a.q3, b.q3)}; \
  }

// Of one register.
static inline float32x4_t min4(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vcltq_f32(a, b), a, b);
}
static inline float32x4_t max4(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline uint32x4_t is_nan4(float32x4_t a) { return vmvnq_u32(vceqq_f32(a, a)); }
// The maximum of ARM is NaN where either is.
static inline uint32x4_t either_nan4(float32x4_t a, float32x4_t b) {
  return is_nan4(vmaxq_f32(a, b));
}
static inline uint32x4_t not_below4(float32x4_t a, float32x4_t b) {
  return vmvnq_u32(vcltq_f32(a, b));
}
static inline float32x4_t keep4(uint32x4_t m, float32x4_t a) {
  return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(a)));
}
static inline float32x4_t low_bits_as_exponent4(float32x4_t a) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(a), 23));
}
// vcvtnq gives the nearest int32, and 0 for NaN.
static inline int32x4_t to_int_checked4(float32x4_t a) {
  return vbslq_s32(vcaltq_f32(a, vdupq_n_f32(2147483648.0f)), vcvtnq_s32_f32(a),
                   vdupq_n_s32(INT32_MIN));
}
static inline float32x4_t round_half4(float32x4_t a) { return vcvt_f32_f16(vcvt_f16_f32(a)); }
static inline float32x4_t bfloats4(int32x4_t a) {
  return vreinterpretq_f32_s32(vshlq_n_s32(a, 16));
}

static inline F16 set1(float x) {
  const float32x4_t q = vdupq_n_f32(x);
  return {q, q, q, q};
}
static inline I16 set1_i(int32_t x) {
  const int32x4_t q = vdupq_n_s32(x);
  return {q, q, q, q};
}
static inline F16 load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
static inline I16 load_i(const int32_t* p) {
  return {vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)};
}
static inline void store(float* p, F16 a) {
  vst1q_f32(p, a.q0);
  vst1q_f32(p + 4, a.q1);
  vst1q_f32(p + 8, a.q2);
  vst1q_f32(p + 12, a.q3);
}
static inline void store_i(int32_t* p, I16 a) {
  vst1q_s32(p, a.q0);
  vst1q_s32(p + 4, a.q1);
  vst1q_s32(p + 8, a.q2);
  vst1q_s32(p + 12, a.q3);
}

OCTAVO_BINARY(F16, add, F16, vaddq_f32)
OCTAVO_BINARY(F16, sub, F16, vsubq_f32)
OCTAVO_BINARY(F16, mul, F16, vmulq_f32)
OCTAVO_BINARY(F16, div, F16, vdivq_f32)
OCTAVO_BINARY(F16, min, F16, min4)
OCTAVO_BINARY(F16, max, F16, max4)
OCTAVO_BINARY(F16, least, F16, vminnmq_f32)
OCTAVO_BINARY(F16, most, F16, vmaxnmq_f32)
OCTAVO_UNARY(F16, abs, F16, vabsq_f32)
OCTAVO_UNARY(F16, neg, F16, vnegq_f32)
static inline F16 fma(F16 a, F16 b, F16 c) {
  return {vfmaq_f32(c.q0, a.q0, b.q0), vfmaq_f32(c.q1, a.q1, b.q1), vfmaq_f32(c.q2, a.q2, b.q2),
          vfmaq_f32(c.q3, a.q3, b.q3)};
}
static inline F16 fnma(F16 a, F16 b, F16 c) {
  return {vfmsq_f32(c.q0, a.q0, b.q0), vfmsq_f32(c.q1, a.q1, b.q1), vfmsq_f32(c.q2, a.q2, b.q2),
          vfmsq_f32(c.q3, a.q3, b.q3)};
}
OCTAVO_BINARY(I16, add_i, I16, vaddq_s32)
OCTAVO_BINARY(I16, sub_i, I16, vsubq_s32)
OCTAVO_BINARY(I16, mul_i, I16, vmulq_s32)
OCTAVO_BINARY(I16, max_i, I16, vmaxq_s32)

OCTAVO_UNARY(M16, is_nan, F16, is_nan4)
OCTAVO_BINARY(M16, either_nan, F16, either_nan4)
OCTAVO_BINARY(M16, not_below, F16, not_below4)
OCTAVO_BINARY(M16, either, M16, vorrq_u32)
static inline M16 first_n(int n) {
  const uint32_t* p = kMaskWindow + 16 - n;
  return {vld1q_u32(p), vld1q_u32(p + 4), vld1q_u32(p + 8), vld1q_u32(p + 12)};
}
static inline M16 none() {
  const uint32x4_t zero = vdupq_n_u32(0);
  return {zero, zero, zero, zero};
}
static inline bool any(M16 m) {
  return vmaxvq_u32(vorrq_u32(vorrq_u32(m.q0, m.q1), vorrq_u32(m.q2, m.q3))) != 0;
}
static inline F16 select(M16 m, F16 a, F16 b) {
  return {vbslq_f32(m.q0, a.q0, b.q0), vbslq_f32(m.q1, a.q1, b.q1), vbslq_f32(m.q2, a.q2, b.q2),
          vbslq_f32(m.q3, a.q3, b.q3)};
}
static inline F16 keep(M16 m, F16 a) {
  return {keep4(m.q0, a.q0), keep4(m.q1, a.q1), keep4(m.q2, a.q2), keep4(m.q3, a.q3)};
}

OCTAVO_UNARY(I16, to_int, F16, vcvtnq_s32_f32)
OCTAVO_UNARY(I16, to_int_checked, F16, to_int_checked4)
OCTAVO_UNARY(F16, to_float, I16, vcvtq_f32_s32)
OCTAVO_UNARY(I16, float_bits, F16, vreinterpretq_s32_f32)
OCTAVO_UNARY(F16, as_floats, I16, vreinterpretq_f32_s32)
OCTAVO_UNARY(F16, low_bits_as_exponent, F16, low_bits_as_exponent4)
OCTAVO_UNARY(F16, round_half, F16, round_half4)
OCTAVO_UNARY(F16, bfloats, I16, bfloats4)

// Lanes 0-7 and 8-15 of a fold: the lower eight with the upper eight, and so on.
#define OCTAVO_REDUCE(name, op) \
  static inline float32x4_t name(F16 a) { return op(op(a.q0, a.q2), op(a.q1, a.q3)); }
OCTAVO_REDUCE(four_sums, vaddq_f32)
OCTAVO_REDUCE(four_minima, vminq_f32)
OCTAVO_REDUCE(four_maxima, vmaxq_f32)
#undef OCTAVO_REDUCE
static inline float reduce_add(F16 a) {
  const float32x4_t w4 = four_sums(a);
  return vpadds_f32(vadd_f32(vget_low_f32(w4), vget_high_f32(w4)));
}
static inline float reduce_min(F16 a) { return vminvq_f32(four_minima(a)); }
static inline float reduce_max(F16 a) { return vmaxvq_f32(four_maxima(a)); }

static inline int8x16_t pack_s8(I16 a) {
  const int16x8_t low = vcombine_s16(vqmovn_s32(a.q0), vqmovn_s32(a.q1));
  const int16x8_t high = vcombine_s16(vqmovn_s32(a.q2), vqmovn_s32(a.q3));
  return vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
}
static inline void store_s8(int8_t* p, I16 a) { vst1q_s8(p, pack_s8(a)); }
static inline void store_sign_abs(uint8_t* sign, uint8_t* magnitude, I16 a) {
  const int8x16_t code = pack_s8(a);
  vst1q_u8(sign, vreinterpretq_u8_s8(vshrq_n_s8(code, 7)));
  vst1q_u8(magnitude, vreinterpretq_u8_s8(vabsq_s8(code)));
}
static inline void store_s16(int16_t* p, I16 a) {
  vst1q_s16(p, vcombine_s16(vqmovn_s32(a.q0), vqmovn_s32(a.q1)));
  vst1q_s16(p + 8, vcombine_s16(vqmovn_s32(a.q2), vqmovn_s32(a.q3)));
}
static inline void store_u16(uint16_t* p, I16 a) {
  vst1q_u16(p, vcombine_u16(vqmovun_s32(a.q0), vqmovun_s32(a.q1)));
  vst1q_u16(p + 8, vcombine_u16(vqmovun_s32(a.q2), vqmovun_s32(a.q3)));
}
static inline void store_u8(uint8_t* p, I16 a) {
  const uint16x8_t low = vcombine_u16(vqmovun_s32(a.q0), vqmovun_s32(a.q1));
  const uint16x8_t high = vcombine_u16(vqmovun_s32(a.q2), vqmovun_s32(a.q3));
  vst1q_u8(p, vcombine_u8(vqmovn_u16(low), vqmovn_u16(high)));
}
static inline void store_half(uint16_t* p, F16 a) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a.q0)));
  vst1_u16(p + 4, vreinterpret_u16_f16(vcvt_f16_f32(a.q1)));
  vst1_u16(p + 8, vreinterpret_u16_f16(vcvt_f16_f32(a.q2)));
  vst1_u16(p + 12, vreinterpret_u16_f16(vcvt_f16_f32(a.q3)));
}

static inline B64 saturated_s8(I16 a, I16 b, I16 c, I16 d) {
  return {pack_s8(a), pack_s8(b), pack_s8(c), pack_s8(d)};
}
static inline int8x16_t moved_s8_16(I16 a, int16x8_t move, int8x16_t least) {
  const int16x8_t low = vcombine_s16(vqmovn_s32(a.q0), vqmovn_s32(a.q1));
  const int16x8_t high = vcombine_s16(vqmovn_s32(a.q2), vqmovn_s32(a.q3));
  return vmaxq_s8(
      vcombine_s8(vqmovn_s16(vqaddq_s16(low, move)), vqmovn_s16(vqaddq_s16(high, move))), least);
}
static inline B64 moved_s8(I16 a, I16 b, I16 c, I16 d, int move, int least) {
  const int16x8_t by = vdupq_n_s16((int16_t)move);
  const int8x16_t from = vdupq_n_s8((int8_t)least);
  return {moved_s8_16(a, by, from), moved_s8_16(b, by, from), moved_s8_16(c, by, from),
          moved_s8_16(d, by, from)};
}
static inline int8x16_t plus_128_16(int8x16_t x) { return veorq_s8(x, vdupq_n_s8(-128)); }
static inline int8x16_t signs_16(int8x16_t x) { return vshrq_n_s8(x, 7); }
OCTAVO_UNARY(B64, plus_128, B64, plus_128_16)
OCTAVO_UNARY(B64, signs, B64, signs_16)
OCTAVO_UNARY(B64, magnitudes, B64, vabsq_s8)
static inline void store_bytes(uint8_t* p, B64 x) {
  vst1q_u8(p, vreinterpretq_u8_s8(x.q0));
  vst1q_u8(p + 16, vreinterpretq_u8_s8(x.q1));
  vst1q_u8(p + 32, vreinterpretq_u8_s8(x.q2));
  vst1q_u8(p + 48, vreinterpretq_u8_s8(x.q3));
}
static inline void store_sixteens(int8_t* p, int64_t stride, B64 x) {
  vst1q_s8(p, x.q0);
  vst1q_s8(p + stride, x.q1);
  vst1q_s8(p + 2 * stride, x.q2);
  vst1q_s8(p + 3 * stride, x.q3);
}

static inline I16 widened(int16x8_t low, int16x8_t high) {
  return {vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
          vmovl_high_s16(high)};
}
static inline int32x4_t widened_u4(uint16x4_t a) { return vreinterpretq_s32_u32(vmovl_u16(a)); }
static inline I16 widened_u(uint16x8_t low, uint16x8_t high) {
  return {widened_u4(vget_low_u16(low)), widened_u4(vget_high_u16(low)),
          widened_u4(vget_low_u16(high)), widened_u4(vget_high_u16(high))};
}
static inline I16 load_s8(const int8_t* p) {
  const int8x16_t a = vld1q_s8(p);
  return widened(vmovl_s8(vget_low_s8(a)), vmovl_high_s8(a));
}
static inline I16 load_u8(const uint8_t* p) {
  const uint8x16_t a = vld1q_u8(p);
  return widened_u(vmovl_u8(vget_low_u8(a)), vmovl_high_u8(a));
}
static inline I16 load_s16(const int16_t* p) { return widened(vld1q_s16(p), vld1q_s16(p + 8)); }
static inline I16 load_u16(const uint16_t* p) { return widened_u(vld1q_u16(p), vld1q_u16(p + 8)); }
static inline float32x4_t load_half4(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline F16 load_half(const uint16_t* p) {
  return {load_half4(p), load_half4(p + 4), load_half4(p + 8), load_half4(p + 12)};
}
static inline F16 load_bfloat(const uint16_t* p) { return bfloats(load_u16(p)); }

// Tails go through a stack slot.
#define OCTAVO_LOAD_N(Out, name, full, type)     \
  static inline Out name(const type* p, int n) { \
    type slot[16] = {0};                         \
    memcpy(slot, p, (size_t)n * sizeof(type));   \
    return full(slot);                           \
  }
OCTAVO_LOAD_N(F16, load_n, load, float)
OCTAVO_LOAD_N(I16, load_i_n, load_i, int32_t)
OCTAVO_LOAD_N(I16, load_s8_n, load_s8, int8_t)
OCTAVO_LOAD_N(I16, load_u8_n, load_u8, uint8_t)
OCTAVO_LOAD_N(I16, load_s16_n, load_s16, int16_t)
OCTAVO_LOAD_N(I16, load_u16_n, load_u16, uint16_t)
OCTAVO_LOAD_N(F16, load_half_n, load_half, uint16_t)
OCTAVO_LOAD_N(F16, load_bfloat_n, load_bfloat, uint16_t)
#undef OCTAVO_LOAD_N
#define OCTAVO_STORE_N(In, name, full, type)      \
  static inline void name(type* p, In a, int n) { \
    type slot[16];                                \
    full(slot, a);                                \
    memcpy(p, slot, (size_t)n * sizeof(type));    \
  }
OCTAVO_STORE_N(F16, store_n, store, float)
OCTAVO_STORE_N(I16, store_i_n, store_i, int32_t)
OCTAVO_STORE_N(I16, store_s8_n, store_s8, int8_t)
OCTAVO_STORE_N(I16, store_u8_n, store_u8, uint8_t)
OCTAVO_STORE_N(I16, store_s16_n, store_s16, int16_t)
OCTAVO_STORE_N(I16, store_u16_n, store_u16, uint16_t)
OCTAVO_STORE_N(F16, store_half_n, store_half, uint16_t)
#undef OCTAVO_STORE_N
static inline void store_sign_abs_n(uint8_t* sign, uint8_t* magnitude, I16 a, int n) {
  uint8_t slot[32];
  store_sign_abs(slot, slot + 16, a);
  memcpy(sign, slot, (size_t)n);
  memcpy(magnitude, slot + 16, (size_t)n);
}

// There are no stores past the caches.
static inline void stream(float* p, F16 a) { store(p, a); }
static inline void stream_s8(int8_t* p, I16 a) { store_s8(p, a); }
static inline void stream_u8(uint8_t* p, I16 a) { store_u8(p, a); }
static inline void stream_s16(int16_t* p, I16 a) { store_s16(p, a); }
static inline void stream_u16(uint16_t* p, I16 a) { store_u16(p, a); }
static inline void stream_half(uint16_t* p, F16 a) { store_half(p, a); }
static inline void stream_fence() {}
static inline void prefetch(const void* p) { OCTAVO_PREFETCH(p); }

static inline int16x8_t upper_words(int32x4_t a, int32x4_t b) {
  return vuzp2q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
}
static inline int16x8_t lower_words(int32x4_t a, int32x4_t b) {
  return vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
}
static inline void split_words(I16 a, I16 b, H32& upper, H32& lower) {
  upper = {upper_words(a.q0, a.q1), upper_words(a.q2, a.q3), upper_words(b.q0, b.q1),
           upper_words(b.q2, b.q3)};
  lower = {lower_words(a.q0, a.q1), lower_words(a.q2, a.q3), lower_words(b.q0, b.q1),
           lower_words(b.q2, b.q3)};
}
static inline H32 set1_h(int16_t x) {
  const int16x8_t q = vdupq_n_s16(x);
  return {q, q, q, q};
}
static inline int16x8_t times_8_8(int16x8_t x) { return vshlq_n_s16(x, 3); }
static inline int16x8_t min_unsigned8(int16x8_t a, int16x8_t b) {
  return vreinterpretq_s16_u16(vminq_u16(vreinterpretq_u16_s16(a), vreinterpretq_u16_s16(b)));
}
OCTAVO_BINARY(H32, add_h, H32, vaddq_s16)
OCTAVO_UNARY(H32, times_8, H32, times_8_8)
OCTAVO_BINARY(H32, min_signed, H32, vminq_s16)
OCTAVO_BINARY(H32, min_unsigned, H32, min_unsigned8)
static inline bool any_below(H32 x, int16_t limit) {
  return vminvq_s16(vminq_s16(vminq_s16(x.q0, x.q1), vminq_s16(x.q2, x.q3))) < limit;
}
static inline bool any_below_unsigned(H32 x, uint16_t limit) {
  const int16x8_t least = min_unsigned8(min_unsigned8(x.q0, x.q1), min_unsigned8(x.q2, x.q3));
  return vminvq_u16(vreinterpretq_u16_s16(least)) < limit;
}
static inline uint8x16_t saturated_u8(int16x8_t low, int16x8_t high) {
  return vcombine_u8(vqmovun_s16(low), vqmovun_s16(high));
}
static inline void store_u8(uint8_t* p, H32 x) {
  vst1q_u8(p, saturated_u8(x.q0, x.q1));
  vst1q_u8(p + 16, saturated_u8(x.q2, x.q3));
}
static inline void store_s8(int8_t* p, H32 x) {
  vst1q_s8(p, plus_128_16(vreinterpretq_s8_u8(saturated_u8(x.q0, x.q1))));
  vst1q_s8(p + 16, plus_128_16(vreinterpretq_s8_u8(saturated_u8(x.q2, x.q3))));
}
static inline void stream_u8(uint8_t* p, H32 x) { store_u8(p, x); }
static inline void stream_s8(int8_t* p, H32 x) { store_s8(p, x); }

#undef OCTAVO_UNARY
#undef OCTAVO_BINARY

}  // namespace
