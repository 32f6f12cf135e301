// SPDX-License-Identifier: Apache-2.0
// Kernel family widen: floats of 16 bits to float32, exactly (NaN may become another NaN).
//
//   y[i] = float32(x[i])     x: IEEE binary16, or bfloat16 = the upper half of a float32
//
// x and y need no alignment beyond their own and may end at their last element.
#pragma once
#include <stdint.h>

namespace octavo {

struct WidenArgs {
  const uint16_t* x;
  float* y;
  int64_t n;
  bool bfloat;  // else binary16
};

}  // namespace octavo
