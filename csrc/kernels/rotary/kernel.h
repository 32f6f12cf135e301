// SPDX-License-Identifier: Apache-2.0
// Kernel family rotary: pairs of values of a head, turned by the angle of a row and pair.
//
//   first' = fma(first, cosine, -(second * sine));  second' = fma(second, cosine, first * sine)
//
// Pair i of a head is its values i and i + pairs; the values behind pair `pairs - 1` are copied.
// Arrays may end exactly at their last element; out is x, or apart from it.
#pragma once
#include <stdint.h>

namespace octavo {

struct RotaryArgs {
  const float* x;  // heads of d values side by side
  int64_t x_stride;
  const float* cosine;  // rows of `pairs`
  const float* sine;
  const int64_t* positions;  // the table's row for each of x
  float* out;
  int64_t out_stride;
  int64_t m;
  int64_t heads;
  int64_t d;
  int64_t pairs;  // at most d / 2
};

}  // namespace octavo
