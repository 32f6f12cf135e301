// SPDX-License-Identifier: Apache-2.0
// Kernel family attention_block: queries against a block of keys, in the codes of attention_codes.
//
// Of each query, over the keys that it sees, first <= j < last:
//   score[j] = key_start[j] + the exact product of both rows' codes
//   z[j] = float32(score[j]) * key_scale[j]
//   with a bias, z[j] = fma(z[j], factor, bias[j] * log2(e)), and factor is 1 from here on
//   top = max z, without NaNs
//   e[j] = exp2_scaled16(z[j] - top, factor)             kernels/common/math16.h
//   sum = sum of e in sixteen lanes by j % 16, folded by halves
//   p[j] = e[j] * value_scale[j]
//   largest = max p, or 0 if that is below kSmallestWeight or sum is NaN
//   P[j] = rint(p[j] * (255 / largest)), or 0 if largest is 0
//   sums = sum of P[j] * codes of value j, exact
// Where no key is seen, top is -inf, and all sums and largest are 0.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"

namespace octavo {

// 255 divided by a smaller number would not be finite.
constexpr float kSmallestWeight = 1.50463277e-36f;  // 2^-119

constexpr float kLog2E = 1.44269502f;

constexpr int kMostKeys = 512;  // of a block
constexpr int kBlockTiles = 4;  // sixteens of queries that `work` has room for
constexpr int kAttentionBlockWork = kBlockTiles * (16 * 16 + 16 * kMostKeys);

// What there is per query and of sums comes in sixteens of queries. Those behind the last may hold
// anything that may be computed with, and get something. Keys and values come in sixteens, too;
// those that no query sees may hold any codes.
struct AttentionBlockArgs {
  int32_t m;  // queries
  int32_t n;  // keys, 1 to kMostKeys
  int32_t d;
  const int32_t* queries;
  int64_t query_stride;  // groups from panel to panel, as all three
  const int32_t* keys;
  int64_t key_stride;
  const int32_t* values;
  int64_t value_stride;
  const int32_t* key_start;
  const float* key_scale;
  const float* value_scale;
  const float* bias;     // sixteen queries side by side for each key; or null
  int64_t bias_stride;   // from sixteen queries to the next
  const int32_t* first;  // or null: 0 and n
  const int32_t* last;
  const float* factor;
  float* work;  // kAttentionBlockWork
  float* top;
  float* sum;
  float* largest;
  int32_t* sums;  // rows of d, rounded up to 16
};

template <>
struct KernelColumns<AttentionBlockArgs> : PlainColumns {
  int group_codes;
  bool key_rows = false;
};

}  // namespace octavo
