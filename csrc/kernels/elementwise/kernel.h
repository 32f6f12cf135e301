// SPDX-License-Identifier: Apache-2.0
// Kernel family elementwise: sums, products and functions of float32 values or int8 codes, row by
// row. A value of a code is float32(code - zero_point). With values a and b,
//
//   kAdd        t = a * a_scale + b * b_scale
//   kMultiply   t = (a * b) * a_scale
//   kPrelu      t = a < 0 ? (a * b) * b_scale : a * a_scale
//   kClamp      t = a                                            float32 alone, as those below
//   kHardSwish  t = (a * min(max(a + 3, 0), 6)) * float32(1/6)
//   kLogistic   t = 1 / (1 + exp(-a))                            exp16 of kernels/common/math16.h
//
//   t = low > t ? low : t;  t = high < t ? high : t              NaN stays
//   out = t, or int8(rint(t) + out_zero_point)                   half to even
//
// Each operation is rounded. For codes low and high are those of a code less out_zero_point, and
// scales are finite. A stride of 0 gives every row the same b; functions of one operand read no b.
// out may be a, or b where each row has its own. Arrays may end exactly at n. The rest of a row, of
// n % 16, takes as long as some sixteens: where all rows share a short b, repeat it.
#pragma once
#include <stdint.h>

namespace octavo {

enum class Elementwise : uint8_t { kAdd, kMultiply, kPrelu, kClamp, kHardSwish, kLogistic };

struct ElementwiseArgs {
  Elementwise op;
  bool codes;  // int8, else float32
  const void* a;
  int64_t a_stride;  // elements, as all strides
  const void* b;
  int64_t b_stride;
  void* out;
  int64_t out_stride;
  int64_t m;
  int64_t n;
  float a_scale;
  float b_scale;
  float low;
  float high;
  int32_t a_zero_point;  // of codes, as all zero points
  int32_t b_zero_point;
  int32_t out_zero_point;
};

}  // namespace octavo
