// SPDX-License-Identifier: Apache-2.0
// Kernel family requantize: the sums of a static int8 layer to its int8 outputs.
//
//   s = sums[m][n] + offset[n]                         int32, wrapping
//   t = float32(s) * multiplier[n]                     two roundings
//   out[m][n] = rint(min(max(t, low), high)) + zero_point        halves to even
//
// offset[n] is the bias less what the input's zero point adds. low and high are whole numbers, the
// least and the greatest code less the zero point, so that codes fit int8; multipliers are finite.
// `n` need not be a multiple of 16; arrays over n may end exactly at n. Rows of sums are whole
// panels.
#pragma once
#include <stdint.h>

namespace octavo {

struct RequantizeArgs {
  const int32_t* sums;
  int64_t sums_stride;  // elements
  int32_t m;
  int32_t n;
  const int32_t* offset;    // n
  const float* multiplier;  // n
  float low;
  float high;
  int32_t zero_point;
  int8_t* out;
  int64_t out_stride;  // elements
};

}  // namespace octavo
