// SPDX-License-Identifier: Apache-2.0
// Kernel family softmax: per row, m = max(x); e = exp(x - m); out = e / sum(e).
//
// The sum runs in sixteen lanes (element i in lane i % 16, in order), folded 16 -> 8 -> 4 -> 2 ->
// 1; exp is that of kernels/common/math16.h. A NaN in a row makes the whole row NaN. out may be x;
// n >= 1; arrays may end exactly at n.
#pragma once
#include <stdint.h>

namespace octavo {

struct SoftmaxArgs {
  const float* x;
  int64_t x_stride;  // elements
  float* out;
  int64_t out_stride;
  int64_t m;
  int64_t n;
};

}  // namespace octavo
