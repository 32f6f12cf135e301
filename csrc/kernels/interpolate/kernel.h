// SPDX-License-Identifier: Apache-2.0
// Kernel family interpolate: one row of an image resized bilinearly, of float32 or int8 codes. With
// l = left[o], r = right[o] and f = fraction[o],
//
//   above = top[l + c] + (top[r + c] - top[l + c]) * f         below: the same of bottom
//   t = above + (below - above) * down
//   out[o][c] = t, or int8(rint(t)), half to even
//
// Each operation is rounded; fractions are in [0, 1]. out is neither top nor bottom. Arrays may end
// exactly at their last channel.
#pragma once
#include <stdint.h>

namespace octavo {

struct InterpolateArgs {
  bool codes;  // int8, else float32
  const void* top;
  const void* bottom;
  const int64_t* left;  // where the pixels of an output begin, in elements
  const int64_t* right;
  const float* fraction;
  float down;
  void* out;
  int64_t outputs;
  int64_t channels;
};

}  // namespace octavo
