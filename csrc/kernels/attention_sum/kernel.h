// SPDX-License-Identifier: Apache-2.0
// Kernel family attention_sum: what the blocks of keys contribute to a row of int8 attention
// (ops/attention_s8.h), put together.
//
//   T = max over blocks of top                           without NaNs
//   w[b] = exp2_scaled16(top[b] - T, factor)             kernels/common/math16.h
//   num[e] = fma(float32(sums[b][e]), (largest[b] / 255) * w[b], num[e])
//   den = fma(sum[b], w[b], den)                         both from +0, b ascending
//   out[e] = num[e] / den
//
// A block whose sum is 0 has no visible key and does not count; without any that does, out is 0.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"

namespace octavo {

struct AttentionSumArgs {
  int32_t m;
  int32_t d;
  int32_t blocks;
  const int32_t* sums;  // rows of all blocks: row i of block b is row b * block_rows + i
  int64_t sums_stride;  // readable up to d rounded up to 16
  int64_t block_rows;
  const float* top;  // these three as the rows of sums
  const float* sum;
  const float* largest;
  const float* factor;  // a value per row
  float* out;
  int64_t out_stride;
};

}  // namespace octavo
