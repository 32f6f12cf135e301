// SPDX-License-Identifier: Apache-2.0
// Kernel family rms_norm: rows to a mean square of 1, scaled.
//
//   mean = sum(x * x) / n;  out = (x * (1 / sqrt(mean + eps))) * weight (+ addend)
//
// Each operation is rounded; `* weight + addend` and adding a square are one operation each, fused
// multiply-adds. A null weight is 1, a null addend -0: the bits are those without them. The sum
// runs in sixteen lanes (element i in lane i % 16, in order), folded 16 -> 8 -> 4 -> 2 -> 1. out
// may be x or addend; n >= 1; arrays may end exactly at n.
#pragma once
#include <stdint.h>

namespace octavo {

struct RmsNormArgs {
  const float* x;
  int64_t x_stride;  // elements, as all strides
  const float* weight;
  float eps;
  const float* addend;
  int64_t addend_stride;
  float* out;
  int64_t out_stride;
  int64_t m;
  int64_t n;
};

}  // namespace octavo
