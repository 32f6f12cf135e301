// SPDX-License-Identifier: Apache-2.0
// 8-bit codes with the bits of the division but its cost only now and then: on Zen 3 a division
// takes 5 cycles per 8 lanes, more than all the rest. Quotients are computed as x * (1 / scale) in
// fixed point with 16 bits after the point. Where one lies so close to the tie between two results
// that its error could matter, the stretch is done again by division.
//
// float32: a value differs from the rounded quotient by at most 3.6 units (2^-16) while
//   |quotient| <= 256: three roundings of 2^-24 each, one of half a unit. The tie is a fraction of
//   one half. (Beyond, 8 bits saturate with any zero point.)
// float16: the product is at most 3 float32 ulps from the float32 quotient; ties are those of its
//   rounding to float16, done by splitting off the upper 11 bits (below the normal range of float16
//   the 11 bits differ from it, but there every code is that of 0). What comes out is rounded to an
//   integer exactly.
// The zero point, made >= 0 by taking int8 for uint8 128 higher, is added to the whole part. What
// does not fit then, or never did (NaN), shows as a whole part near -32768; so do quotients there.
#pragma once
#include "kernels/common/elements16.h"

namespace octavo {
namespace {

constexpr int kStretch = 64;
constexpr float kUnit = 65536.0f;
constexpr int16_t kLowestWhole = -32768 + 512;

// Scales whose reciprocal and its products keep 24 bits.
static inline bool has_reciprocal(float scale) { return scale >= 0x1p-100f && scale <= 0x1p100f; }

// What the fixed quotient is raised by: the zero point, and what makes its whole part the code.
static inline int32_t unsigned_zero_point(const int8_t* p) { return p ? *p + 128 : 128; }
static inline int32_t unsigned_zero_point(const uint8_t* p) { return p ? *p : 0; }

struct Reciprocal {
  F16 factor;  // of 1 / scale and 2^16
  I16 shift;   // zero point, in units, and what rounds
};
struct Words32 {
  H32 code;  // as unsigned
  H32 tie;   // near 0, unsigned, where the code may be wrong
};

// One half rounds; kMargin more makes ties the fractions below 2 * kMargin.
template <class X>
struct Ties;
template <>
struct Ties<float> {
  static constexpr int kMargin = 4;
  static constexpr int kRounding = 32768 + kMargin;
};
template <>
struct Ties<Half> {
  static constexpr int kMargin = 4 * 8;
  static constexpr int kRounding = 0;
};

static inline Words32 words_32(const float* x, const Reciprocal& by) {
  prefetch_ahead(x);
  prefetch_ahead(x + 16);
  const I16 a = add_i(to_int_checked(mul(load(x), by.factor)), by.shift);
  const I16 b = add_i(to_int_checked(mul(load(x + 16), by.factor)), by.shift);
  Words32 words;
  split_words(a, b, words.code, words.tie);
  return words;
}

static inline I16 rounded_twice(F16 q) {
  const F16 c = mul(q, set1(8193.0f));
  const F16 upper = sub(c, sub(c, q));
  const F16 large = set1(12582912.0f * kUnit);  // 1.5 * 2^23: nothing is left after the point
  return to_int_checked(sub(add(upper, large), large));
}
static inline Words32 words_32(const Half* x, const Reciprocal& by) {
  prefetch_ahead(x);
  const F16 a = mul(load_floats(x), by.factor), b = mul(load_floats(x + 16), by.factor);
  Words32 words;
  H32 unused, low;
  split_words(add_i(rounded_twice(a), by.shift), add_i(rounded_twice(b), by.shift), words.code,
              unused);
  // The 13 bits that float16 has no room for, at the top of a word; a tie is one half of that.
  split_words(float_bits(a), float_bits(b), unused, low);
  words.tie = add_h(times_8(low), set1_h((int16_t)(-32768 + Ties<Half>::kMargin)));
  return words;
}

// False when the codes may be wrong.
template <class X, class Y>
static inline bool quantize_stretch(const X* x, const Reciprocal& by, Y* y, bool streaming) {
  H32 tie = set1_h(-1), lowest = set1_h(0);
  for (int i = 0; i < kStretch; i += 32) {
    const Words32 words = words_32(x + i, by);
    tie = min_unsigned(tie, words.tie);
    lowest = min_signed(lowest, words.code);
    if (streaming) {
      stream_codes(y + i, words.code);
    } else {
      store_codes(y + i, words.code);
    }
  }
  return !any_below_unsigned(tie, 2 * Ties<X>::kMargin) && !any_below(lowest, kLowestWhole);
}

template <class X, class Y>
static inline Reciprocal reciprocal_of(float scale, const Y* zero_point) {
  const int32_t zero = unsigned_zero_point(zero_point);
  return {set1(1.0f / scale * kUnit), set1_i(zero * 65536 + Ties<X>::kRounding)};
}

}  // namespace
}  // namespace octavo
