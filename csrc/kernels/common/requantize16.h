// SPDX-License-Identifier: Apache-2.0
// Sums to int8 codes (see kernels/requantize/kernel.h); include after lanes16_*.h.
#pragma once
#include "kernels/common/compiler.h"

namespace octavo {
namespace {

// What is the same for all columns.
struct CodeRange {
  F16 low, high;  // of codes less the zero point
  int zero_point, least;
};

static inline CodeRange code_range(float low, float high, int zero_point) {
  return {set1(low), set1(high), zero_point, (int)low + zero_point};
}

// Of sixteen sums, as int32.
static OCTAVO_INLINE I16 requantized(I16 sum, F16 multiplier, const CodeRange& range) {
  const F16 t = mul(to_float(sum), multiplier);
  return add_i(to_int(least(most(t, range.low), range.high)), set1_i(range.zero_point));
}

// Of four times sixteen. What lies below all codes saturates, on the way to int32 too, so that one
// maximum of bytes does for all.
static OCTAVO_INLINE B64 requantized(I16 a, F16 by_a, I16 b, F16 by_b, I16 c, F16 by_c, I16 d,
                                     F16 by_d, const CodeRange& range) {
  a = to_int_checked(least(mul(to_float(a), by_a), range.high));
  b = to_int_checked(least(mul(to_float(b), by_b), range.high));
  c = to_int_checked(least(mul(to_float(c), by_c), range.high));
  d = to_int_checked(least(mul(to_float(d), by_d), range.high));
  return moved_s8(a, b, c, d, range.zero_point, range.least);
}

}  // namespace
}  // namespace octavo
