// SPDX-License-Identifier: Apache-2.0
// Kernel family attention_weights: exact scores of a block of keys to 8-bit codes of their weights,
// between the two products of int8 attention (ops/attention_s8.h).
//
// Of each row, over its visible keys first <= j < last:
//   z[j] = float32(scores[j] - key_shift[j]) * key_scale[j]
//   with a bias, z[j] = fma(z[j], factor, bias[j] * log2(e)), and factor is 1 from here on
//   top = max z, without NaNs
//   e[j] = exp2_scaled16(z[j] - top, factor)             kernels/common/math16.h
//   sum = sum of e in sixteen lanes by j % 16, folded by halves
//   p[j] = e[j] * value_scale[j]
//   largest = max p, or 0 if that is below kSmallestWeight or sum is NaN
//   P[j] = rint(p[j] * (255 / largest)), or 0 if largest is 0
// Where no key is visible, top is -inf, sum and largest are 0. Keys that are not visible get P = 0.
//
// P is written as the left operand of a product, `width` bytes a row (a multiple of 64): as it is
// in the form kU8, else as the signed code P - 128. Behind n, rounded up to 16, bytes are 0.
#pragma once
#include <stdint.h>

#include "kernels/gemm_s8/kernel.h"

namespace octavo {

// 255 divided by a smaller number would not be finite.
constexpr float kSmallestWeight = 1.50463277e-36f;  // 2^-119

constexpr float kLog2E = 1.44269502f;

struct AttentionWeightsArgs {
  int32_t* scores;  // m rows; written over
  int64_t scores_stride;
  const int32_t* key_shift;  // or null
  const float* key_scale;
  const float* value_scale;
  const float* bias;  // m rows as long as n, rounded up to 16; or null
  int64_t bias_stride;
  int32_t m;
  int32_t n;  // keys; the arrays over them are readable, and scores writable, up to the next 16
  const int32_t* first;  // a value per row
  const int32_t* last;
  const float* factor;
  ActivationEncoding form;
  uint8_t* codes;
  int64_t codes_stride;  // bytes
  int64_t abs_offset;
  int32_t width;
  float* top;
  float* sum;
  float* largest;
};

}  // namespace octavo
