// SPDX-License-Identifier: Apache-2.0
// Kernel family layer_norm: rows to mean 0 and variance 1, scaled and shifted.
//
//   v = x (+ residual);  mean = sum(v) / n;  d = v - mean;  variance = sum(d * d) / n
//   out = (d * (1 / sqrt(variance + eps))) * weight + bias
//
// Each operation is rounded; `* weight + bias` and adding a square are one operation each, fused
// multiply-adds. A null weight is 1, a null bias -0: the bits are those without them. A null
// residual is skipped. Sums run in sixteen lanes (element i in lane i % 16, in order), folded
// 16 -> 8 -> 4 -> 2 -> 1. out may be x or residual; n >= 1; arrays may end exactly at n.
#pragma once
#include <stdint.h>

namespace octavo {

struct LayerNormArgs {
  const float* x;
  int64_t x_stride;  // elements, as all strides
  const float* residual;
  int64_t residual_stride;
  const float* weight;
  const float* bias;
  float eps;
  float* out;
  int64_t out_stride;
  int64_t m;
  int64_t n;
};

}  // namespace octavo
