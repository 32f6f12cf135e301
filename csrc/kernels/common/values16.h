// SPDX-License-Identifier: Apache-2.0
// Sixteen values, or the first n of them: float32 as they are, int8 codes less their zero point;
// include after lanes16_*.h.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/elements16.h"

namespace octavo {
namespace {

// Fewer than sixteen are rare: a call is shorter than what it does.
static OCTAVO_NOINLINE F16 load_first(const float* p, int n) { return load_n(p, n); }
static OCTAVO_NOINLINE I16 load_first(const int8_t* p, int n) { return load_s8_n(p, n); }
static OCTAVO_NOINLINE void store_first(float* p, F16 a, int n) { store_n(p, a, n); }
static OCTAVO_NOINLINE void store_first(int8_t* p, I16 a, int n) { store_s8_n(p, a, n); }

template <bool Whole>
static inline F16 load_lanes(const float* p, int n) {
  return Whole ? load(p) : load_first(p, n);
}
template <bool Whole>
static inline I16 load_lanes(const int8_t* p, int n) {
  return Whole ? load_s8(p) : load_first(p, n);
}
template <bool Whole>
static inline void store_lanes(float* p, F16 a, int n) {
  Whole ? store(p, a) : store_first(p, a, n);
}
template <bool Whole>
static inline void store_lanes(int8_t* p, I16 a, int n) {
  Whole ? store_s8(p, a) : store_first(p, a, n);
}

static inline F16 as_values(F16 a, I16) { return a; }
static inline F16 as_values(I16 codes, I16 zero_point) {
  return to_float(sub_i(codes, zero_point));
}
// As elements of the type at p.
static inline F16 as_elements(const float*, F16 t, I16) { return t; }
static inline I16 as_elements(const int8_t*, F16 t, I16 zero_point) {
  return add_i(to_int(t), zero_point);
}

// NaN stays: it is the second operand.
static inline F16 clamped(F16 t, float low, float high) {
  return min(set1(high), max(set1(low), t));
}

}  // namespace
}  // namespace octavo
