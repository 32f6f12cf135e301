// SPDX-License-Identifier: Apache-2.0
// Kernel family requantize: the sums of a static int8 layer to its int8 outputs.
//
//   s = sums[m][n] + offset[n]                         int32, wrapping
//   t = float32(s) * multiplier[n]                     two roundings
//   out[m][n] = rint(min(max(t, low), high)) + zero_point        halves to even
//
// offset[n] is the bias less what the input's zero point adds. low and high are whole numbers, the
// least and the greatest code less the zero point, so that codes fit int8; multipliers are finite.
// Rows of sums, offsets and multipliers are whole panels of 16 columns; of rows of out, n codes are
// written.
#pragma once
#include <stdint.h>

namespace octavo {

struct RequantizeArgs {
  const int32_t* sums;
  int64_t sums_stride;  // elements
  int32_t m;
  int32_t n;
  const int32_t* offset;    // whole panels
  const float* multiplier;  // whole panels
  float low;
  float high;
  int32_t zero_point;
  int8_t* out;
  int64_t out_stride;  // elements
};

}  // namespace octavo
