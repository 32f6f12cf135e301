// SPDX-License-Identifier: Apache-2.0
// Sixteen float32 / int32 lanes as plain arrays: the portable twin of lanes16_avx2.h and
// lanes16_avx512vnni.h. All tiers compute with sixteen lanes, so a reduction has one order
// everywhere.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/common/fused.h"
#include "kernels/common/half1.h"

namespace {

struct F16 {
  float v[16];
};
struct I16 {
  int32_t v[16];
};
struct M16 {
  bool v[16];
};
// Vector registers that an F16 takes, and that there are; here some, or none.
constexpr int kLaneRegisters = 4;
constexpr int kRegisters = 16;
struct H32 {  // int16 lanes of two I16; a tier may keep them in an order of its own
  int16_t v[32];
};
struct B64 {  // codes of 8 bits
  int8_t v[64];
};

#define OCTAVO_LANES(expr)       \
  for (int i = 0; i < 16; ++i) { \
    r.v[i] = (expr);             \
  }                              \
  return r

static inline F16 set1(float x) {
  F16 r;
  OCTAVO_LANES(x);
}
static inline I16 set1_i(int32_t x) {
  I16 r;
  OCTAVO_LANES(x);
}
static inline F16 load(const float* p) {
  F16 r;
  memcpy(r.v, p, sizeof r.v);
  return r;
}
static inline I16 load_i(const int32_t* p) {
  I16 r;
  memcpy(r.v, p, sizeof r.v);
  return r;
}
static inline void store(float* p, F16 a) { memcpy(p, a.v, sizeof a.v); }
static inline void store_i(int32_t* p, I16 a) { memcpy(p, a.v, sizeof a.v); }
// The *_n forms touch only the first n lanes (1 <= n <= 16); lanes beyond read as zero.
static inline F16 load_n(const float* p, int n) {
  F16 r;
  OCTAVO_LANES(i < n ? p[i] : 0.0f);
}
static inline I16 load_i_n(const int32_t* p, int n) {
  I16 r;
  OCTAVO_LANES(i < n ? p[i] : 0);
}
static inline void store_n(float* p, F16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
static inline void store_i_n(int32_t* p, I16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}

static inline F16 add(F16 a, F16 b) {
  F16 r;
  OCTAVO_LANES(a.v[i] + b.v[i]);
}
static inline F16 sub(F16 a, F16 b) {
  F16 r;
  OCTAVO_LANES(a.v[i] - b.v[i]);
}
static inline F16 mul(F16 a, F16 b) {
  F16 r;
  OCTAVO_LANES(a.v[i] * b.v[i]);
}
static inline F16 div(F16 a, F16 b) {
  F16 r;
  OCTAVO_LANES(a.v[i] / b.v[i]);
}
// a * b + c and c - a * b, rounded once.
static inline F16 fma(F16 a, F16 b, F16 c) {
  F16 r;
  OCTAVO_LANES(fma1(a.v[i], b.v[i], c.v[i]));
}
static inline F16 fnma(F16 a, F16 b, F16 c) {
  F16 r;
  OCTAVO_LANES(fma1(-a.v[i], b.v[i], c.v[i]));
}
// As on x86: the second operand when either is NaN.
static inline F16 min(F16 a, F16 b) {
  F16 r;
  OCTAVO_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static inline F16 max(F16 a, F16 b) {
  F16 r;
  OCTAVO_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
// The same of numbers: of two zeros, and beside NaN, either operand may be what comes out.
static inline F16 least(F16 a, F16 b) { return min(a, b); }
static inline F16 most(F16 a, F16 b) { return max(a, b); }
static inline F16 abs(F16 a) {
  F16 r;
  OCTAVO_LANES(fabsf(a.v[i]));
}
static inline F16 neg(F16 a) {
  F16 r;
  OCTAVO_LANES(-a.v[i]);
}

static inline I16 add_i(I16 a, I16 b) {
  I16 r;
  OCTAVO_LANES((int32_t)((uint32_t)a.v[i] + (uint32_t)b.v[i]));
}
static inline I16 sub_i(I16 a, I16 b) {
  I16 r;
  OCTAVO_LANES((int32_t)((uint32_t)a.v[i] - (uint32_t)b.v[i]));
}
static inline I16 mul_i(I16 a, I16 b) {
  I16 r;
  OCTAVO_LANES((int32_t)((uint32_t)a.v[i] * (uint32_t)b.v[i]));
}

static inline I16 max_i(I16 a, I16 b) {
  I16 r;
  OCTAVO_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}

static inline M16 is_nan(F16 a) {
  M16 r;
  OCTAVO_LANES(a.v[i] != a.v[i]);
}
static inline F16 select(M16 m, F16 a, F16 b) {
  F16 r;
  OCTAVO_LANES(m.v[i] ? a.v[i] : b.v[i]);
}
// The first n lanes true.
static inline M16 first_n(int n) {
  M16 r;
  OCTAVO_LANES(i < n);
}

// Adding and taking away 2^23 rounds a smaller magnitude half to even; unlike rintf, it vectorizes.
static inline float rint1(float x) {
  const float magnitude = fabsf(x);
  const float rounded = (magnitude + 8388608.0f) - 8388608.0f;
  return magnitude < 8388608.0f ? copysignf(rounded, x) : x;
}
// Half to even; defined for |a| < 2^31 only.
static inline I16 to_int(F16 a) {
  I16 r;
  OCTAVO_LANES((int32_t)rint1(a.v[i]));
}
static inline F16 to_float(I16 a) {
  F16 r;
  OCTAVO_LANES((float)a.v[i]);
}
// A float whose sign and exponent are the nine lowest bits of a, its fraction zero.
static inline F16 low_bits_as_exponent(F16 a) {
  F16 r;
  for (int i = 0; i < 16; ++i) {
    uint32_t bits;
    memcpy(&bits, &a.v[i], 4);
    bits <<= 23;
    memcpy(&r.v[i], &bits, 4);
  }
  return r;
}

static inline int32_t clamp1(int32_t x, int32_t lo, int32_t hi) {
  return x < lo ? lo : (x > hi ? hi : x);
}
// Saturating stores of the first n lanes; defined for |lane| < 2^31 - 2^16.
static inline void store_s8_n(int8_t* p, I16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = (int8_t)clamp1(a.v[i], -128, 127);
}
static inline void store_u8_n(uint8_t* p, I16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = (uint8_t)clamp1(a.v[i], 0, 255);
}
static inline void store_s16_n(int16_t* p, I16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = (int16_t)clamp1(a.v[i], -32768, 32767);
}
static inline void store_u16_n(uint16_t* p, I16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = (uint16_t)clamp1(a.v[i], 0, 65535);
}
// Of the saturated lane: 255 where it is negative, else 0; and its magnitude, 128 for -128.
static inline void store_sign_abs_n(uint8_t* sign, uint8_t* magnitude, I16 a, int n) {
  for (int i = 0; i < n; ++i) {
    const int32_t code = clamp1(a.v[i], -128, 127);
    sign[i] = code < 0 ? 255 : 0;
    magnitude[i] = (uint8_t)(code < 0 ? -code : code);
  }
}
static inline void store_sign_abs(uint8_t* sign, uint8_t* magnitude, I16 a) {
  store_sign_abs_n(sign, magnitude, a, 16);
}
static inline void store_s8(int8_t* p, I16 a) { store_s8_n(p, a, 16); }
static inline void store_u8(uint8_t* p, I16 a) { store_u8_n(p, a, 16); }
static inline void store_s16(int16_t* p, I16 a) { store_s16_n(p, a, 16); }
static inline void store_u16(uint16_t* p, I16 a) { store_u16_n(p, a, 16); }
// Lanes saturated to 16 bits plus `move`, and no less than `least`.
static inline B64 moved_s8(I16 a, I16 b, I16 c, I16 d, int move, int least) {
  B64 r;
  const I16* const from[4] = {&a, &b, &c, &d};
  for (int i = 0; i < 64; ++i) {
    r.v[i] = (int8_t)clamp1(clamp1(from[i / 16]->v[i % 16], -32768, 32767) + move, least, 127);
  }
  return r;
}
// Lanes must fit 16 bits.
static inline B64 saturated_s8(I16 a, I16 b, I16 c, I16 d) { return moved_s8(a, b, c, d, 0, -128); }
static inline B64 plus_128(B64 a) {
  for (int i = 0; i < 64; ++i) a.v[i] = (int8_t)(a.v[i] ^ 0x80);
  return a;
}
static inline B64 signs(B64 a) {
  for (int i = 0; i < 64; ++i) a.v[i] = a.v[i] < 0 ? -1 : 0;
  return a;
}
static inline B64 magnitudes(B64 a) {
  for (int i = 0; i < 64; ++i) a.v[i] = (int8_t)(a.v[i] < 0 ? -a.v[i] : a.v[i]);
  return a;
}
static inline void store_bytes(uint8_t* p, B64 a) { memcpy(p, a.v, sizeof a.v); }
// Four times sixteen, to places `stride` apart.
static inline void store_sixteens(int8_t* p, int64_t stride, B64 a) {
  for (int i = 0; i < 4; ++i) memcpy(p + i * stride, a.v + 16 * i, 16);
}

// Stores past the caches, to addresses aligned to the 16 elements; without such stores, plain ones.
static inline void stream(float* p, F16 a) { store(p, a); }
static inline void stream_s8(int8_t* p, I16 a) { store_s8(p, a); }
static inline void stream_u8(uint8_t* p, I16 a) { store_u8(p, a); }
static inline void stream_s16(int16_t* p, I16 a) { store_s16(p, a); }
static inline void stream_u16(uint16_t* p, I16 a) { store_u16(p, a); }
// Asks for the line of p, which may lie behind the end of an array.
static inline void prefetch(const void*) {}
// After the last streamed store of a kernel: orders them before what follows.
static inline void stream_fence() {}

static inline I16 load_s8_n(const int8_t* p, int n) {
  I16 r;
  OCTAVO_LANES(i < n ? p[i] : 0);
}
static inline I16 load_u8_n(const uint8_t* p, int n) {
  I16 r;
  OCTAVO_LANES(i < n ? p[i] : 0);
}
static inline I16 load_s16_n(const int16_t* p, int n) {
  I16 r;
  OCTAVO_LANES(i < n ? p[i] : 0);
}
static inline I16 load_u16_n(const uint16_t* p, int n) {
  I16 r;
  OCTAVO_LANES(i < n ? p[i] : 0);
}
static inline I16 load_s8(const int8_t* p) { return load_s8_n(p, 16); }
static inline I16 load_u8(const uint8_t* p) { return load_u8_n(p, 16); }
static inline I16 load_s16(const int16_t* p) { return load_s16_n(p, 16); }
static inline I16 load_u16(const uint16_t* p) { return load_u16_n(p, 16); }

static inline F16 load_half_n(const uint16_t* p, int n) {
  F16 r;
  OCTAVO_LANES(i < n ? half_to_float(p[i]) : 0.0f);
}
static inline F16 load_half(const uint16_t* p) { return load_half_n(p, 16); }
static inline F16 load_bfloat_n(const uint16_t* p, int n) {
  F16 r;
  OCTAVO_LANES(i < n ? bfloat_to_float(p[i]) : 0.0f);
}
static inline F16 load_bfloat(const uint16_t* p) { return load_bfloat_n(p, 16); }
static inline void store_half_n(uint16_t* p, F16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = float_to_half(a.v[i]);
}
static inline void store_half(uint16_t* p, F16 a) { store_half_n(p, a, 16); }
static inline void stream_half(uint16_t* p, F16 a) { store_half(p, a); }
static inline F16 round_half(F16 a) {
  F16 r;
  OCTAVO_LANES(half_to_float(float_to_half(a.v[i])));
}

// The one folding order of every tier: 16 -> 8 -> 4 -> 2 -> 1.
static inline float reduce_add(F16 a) {
  for (int w = 8; w > 0; w /= 2) {
    for (int i = 0; i < w; ++i) a.v[i] = a.v[i] + a.v[i + w];
  }
  return a.v[0];
}
static inline float reduce_min(F16 a) {
  float r = a.v[0];
  for (int i = 1; i < 16; ++i) r = a.v[i] < r ? a.v[i] : r;
  return r;
}
static inline float reduce_max(F16 a) {
  float r = a.v[0];
  for (int i = 1; i < 16; ++i) r = a.v[i] > r ? a.v[i] : r;
  return r;
}
// False only where a < b: NaN is not below.
static inline M16 not_below(F16 a, F16 b) {
  M16 r;
  OCTAVO_LANES(!(a.v[i] < b.v[i]));
}
// +0 where m is false.
static inline F16 keep(M16 m, F16 a) {
  F16 r;
  OCTAVO_LANES(m.v[i] ? a.v[i] : 0.0f);
}
static inline bool any(M16 m) { return memchr(m.v, 1, 16) != nullptr; }
static inline M16 either(M16 a, M16 b) {
  M16 r;
  OCTAVO_LANES(a.v[i] || b.v[i]);
}
static inline M16 either_nan(F16 a, F16 b) { return either(is_nan(a), is_nan(b)); }
static inline M16 none() {
  M16 r;
  OCTAVO_LANES(false);
}

#undef OCTAVO_LANES
#define OCTAVO_LANES(expr)       \
  for (int i = 0; i < 32; ++i) { \
    r.v[i] = (int16_t)(expr);    \
  }                              \
  return r

// INT32_MIN for what is not within int32; half to even.
static inline I16 to_int_checked(F16 a) {
  I16 r;
  for (int i = 0; i < 16; ++i) {
    const bool fits = a.v[i] >= -2147483648.0f && a.v[i] < 2147483648.0f;
    r.v[i] = fits ? (int32_t)rint1(a.v[i]) : INT32_MIN;
  }
  return r;
}
static inline int32_t lane(I16 a, I16 b, int i) { return i < 16 ? a.v[i] : b.v[i - 16]; }
// The upper and the lower 16 bits of all lanes.
static inline void split_words(I16 a, I16 b, H32& upper, H32& lower) {
  for (int i = 0; i < 32; ++i) {
    upper.v[i] = (int16_t)(lane(a, b, i) >> 16);
    lower.v[i] = (int16_t)(uint16_t)lane(a, b, i);
  }
}
static inline I16 float_bits(F16 a) { return load_i((const int32_t*)a.v); }
static inline F16 as_floats(I16 bits) { return load((const float*)bits.v); }
static inline H32 set1_h(int16_t x) {
  H32 r;
  OCTAVO_LANES(x);
}
static inline H32 add_h(H32 a, H32 b) {
  H32 r;
  OCTAVO_LANES((uint16_t)(a.v[i] + b.v[i]));
}
static inline H32 times_8(H32 a) {
  H32 r;
  OCTAVO_LANES((uint16_t)((uint16_t)a.v[i] << 3));
}
static inline H32 min_signed(H32 a, H32 b) {
  H32 r;
  OCTAVO_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static inline H32 min_unsigned(H32 a, H32 b) {
  H32 r;
  OCTAVO_LANES((uint16_t)a.v[i] < (uint16_t)b.v[i] ? a.v[i] : b.v[i]);
}
static inline bool any_below(H32 a, int16_t limit) {
  bool r = false;
  for (int i = 0; i < 32; ++i) r = r || a.v[i] < limit;
  return r;
}
static inline bool any_below_unsigned(H32 a, uint16_t limit) {
  bool r = false;
  for (int i = 0; i < 32; ++i) r = r || (uint16_t)a.v[i] < limit;
  return r;
}
// Saturating, in the order of a then b of split_words; lanes of the int8 forms are 128 too large.
static inline void store_u8(uint8_t* p, H32 a) {
  for (int i = 0; i < 32; ++i) p[i] = (uint8_t)clamp1(a.v[i], 0, 255);
}
static inline void store_s8(int8_t* p, H32 a) {
  for (int i = 0; i < 32; ++i) p[i] = (int8_t)(clamp1(a.v[i], 0, 255) - 128);
}
static inline void stream_u8(uint8_t* p, H32 a) { store_u8(p, a); }
static inline void stream_s8(int8_t* p, H32 a) { store_s8(p, a); }

#undef OCTAVO_LANES

}  // namespace
