// SPDX-License-Identifier: Apache-2.0
// 8-bit codes with the bits of the division but its cost only now and then: on Zen 3 a division
// takes 5 cycles per 8 lanes, twice what all the rest does. Quotients are computed as
// x * (1 / scale) in fixed point with 16 bits after the point. Where such a value lies so close to
// the tie between two results that its error could matter, the stretch is done again by division.
//
// float32: the value differs from the rounded quotient by at most 6.6 units (2^-16) while
//   |quotient| <= 512.5: three roundings of 2^-24 each, one of half a unit. Tie: fraction one half.
// float16: the product is at most 3 float32 ulps from the float32 quotient; ties are those of its
//   rounding to float16, done by splitting off the upper 11 bits (below the normal range of float16
//   the 11 bits differ from it, but there every code is that of 0). What comes out is rounded to an
//   integer exactly.
// A NaN and anything above the cap are taken for the cap, which is a tie. Anything below -32768
// becomes -32768. Both ends saturate 8 bits with any zero point.
#pragma once
#include "kernels/common/elements16.h"

namespace octavo {
namespace {

constexpr int kStretch = 64;
constexpr float kUnit = 65536.0f;

// Scales whose reciprocal and its products keep 24 bits.
static inline bool has_reciprocal(float scale) { return scale >= 0x1p-100f && scale <= 0x1p100f; }

struct Codes32 {
  H32 code;          // without zero point
  H32 tie_distance;  // unsigned
};

static inline I16 fixed_quotient(const float* x, F16 factor) {
  const F16 q = min(mul(load(x), factor), set1(512.5f * kUnit));
  return add_i(to_fixed(q), set1_i(32768));  // one half more: whole parts are rounded ones
}
static inline Codes32 codes_32(const float* x, F16 factor) {
  const I16 a = fixed_quotient(x, factor), b = fixed_quotient(x + 16, factor);
  return {whole_parts(a, b), abs_h(fractions(a, b))};
}
static inline uint16_t tie_margin(const float*) { return 8; }

static inline F16 capped_product(const Half* x, F16 factor) {
  return min(mul(load_floats(x), factor), set1(600.25f * kUnit));
}
static inline I16 rounded_twice(F16 q) {
  const F16 c = mul(q, set1(8193.0f));
  const F16 upper = sub(c, sub(c, q));
  const F16 large = set1(12582912.0f * kUnit);  // 1.5 * 2^23: nothing is left after the point
  return to_fixed(sub(add(upper, large), large));
}
static inline Codes32 codes_32(const Half* x, F16 factor) {
  const F16 a = capped_product(x, factor), b = capped_product(x + 16, factor);
  return {whole_parts(rounded_twice(a), rounded_twice(b)), abs_h(half_ties(a, b))};
}
static inline uint16_t tie_margin(const Half*) { return 4 * 8; }

// False when the codes may be wrong.
template <class X, class Y>
static inline bool quantize_stretch(const X* x, F16 factor, H32 zero_point, Y* y, bool streaming) {
  H32 distance = set1_h(-1);
  for (int i = 0; i < kStretch; i += 32) {
    const Codes32 codes = codes_32(x + i, factor);
    distance = min_unsigned(distance, codes.tie_distance);
    const H32 code = add_saturated(codes.code, zero_point);
    if (streaming) {
      stream_codes(y + i, code);
    } else {
      store_codes(y + i, code);
    }
  }
  return !any_below(distance, tie_margin(x));
}

}  // namespace
}  // namespace octavo
