// SPDX-License-Identifier: Apache-2.0
// Kernel family epilogue: the sums of a GEMM block to its output. Shared by every producer of sums.
//
//   t = float32(acc[m][n] - zero_point[m] * col_sum[n])    int32, wrapping; exact in bounds
//   y = t * (row_scale[m] * col_scale[n])                  or acc[m][n] itself where it is scaled
//   y += bias[n]
//   y += addend[m][n]
//   y = activation(y)                          kRelu: then min(y, relu_high); NaN stays
//   y += residual[m][n]
//   out = y                                                or its int8 code
//
// Each operation is rounded to float32. A null bias, addend or residual is skipped, not added
// as zero. `n` need not be a multiple of 16; arrays over n may end exactly at n. acc rows are whole
// panels.
#pragma once
#include <math.h>
#include <stdint.h>

namespace octavo {

enum class Activation : uint8_t { kNone, kRelu, kGelu, kGeluTanh, kSilu, kTanh };

struct EpilogueArgs {
  const int32_t* acc;  // float32 if scaled; zero points, column sums and scales are not read then
  bool scaled = false;
  int64_t acc_stride;  // elements
  int32_t m;
  int32_t n;
  const int32_t* zero_point;  // m
  const int32_t* col_sum;     // n
  const float* row_scale;     // m
  const float* col_scale;     // n
  const float* bias;          // n or null
  const float* addend;        // or null
  int64_t addend_stride;      // elements
  const float* residual;      // or null
  int64_t residual_stride;    // elements
  Activation activation;
  float relu_high = HUGE_VALF;
  void* out;               // float32, or int8 when out_scale is set
  int64_t out_stride;      // elements
  const float* out_scale;  // one value, or null for float32 output
  int32_t out_zero_point;
};

}  // namespace octavo
