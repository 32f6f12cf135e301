// SPDX-License-Identifier: Apache-2.0
// attention_sum over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include <math.h>

#include "kernels/attention_sum/kernel.h"
#include "kernels/common/math16.h"
#include "kernels/common/some16.h"

namespace octavo {
namespace {

static inline float highest(const AttentionSumArgs& args, int m) {
  float top = -INFINITY;
  for (int b = 0; b < args.blocks; ++b) {
    const int64_t row = b * args.block_rows + m;
    if (args.sum[row] != 0.0f && args.top[row] > top) top = args.top[row];
  }
  return top;
}

static inline F16 products(const AttentionSumArgs& args, int m, int e, int b) {
  const int64_t row = b * args.block_rows + m;
  return to_float(load_i(args.sums + row * args.sums_stride + e));
}

// Sixteen columns of a row.
static inline F16 numerator(const AttentionSumArgs& args, int m, int e, float top) {
  const F16 factor = set1(args.factor[m]);
  F16 num = set1(0.0f);
  for (int b = 0; b < args.blocks; ++b) {
    const int64_t row = b * args.block_rows + m;
    if (args.sum[row] == 0.0f) continue;
    const F16 weight = exp2_scaled16(set1(args.top[row] - top), factor);
    num = fma(products(args, m, e, b), mul(set1(args.largest[row] / 255.0f), weight), num);
  }
  return num;
}

static inline F16 denominator(const AttentionSumArgs& args, int m, float top) {
  F16 den = set1(0.0f);
  for (int b = 0; b < args.blocks; ++b) {
    const int64_t row = b * args.block_rows + m;
    if (args.sum[row] == 0.0f) continue;
    const F16 weight = exp2_scaled16(set1(args.top[row] - top), set1(args.factor[m]));
    den = fma(set1(args.sum[row]), weight, den);
  }
  return den;
}

static inline bool is_empty(const AttentionSumArgs& args, int m) {
  for (int b = 0; b < args.blocks; ++b) {
    if (args.sum[b * args.block_rows + m] != 0.0f) return false;
  }
  return true;
}

static inline void write_row(const AttentionSumArgs& args, int m) {
  float* out = args.out + m * args.out_stride;
  const bool empty = is_empty(args, m);
  const float top = highest(args, m);
  const F16 den = denominator(args, m, top);
  for (int e = 0; e < args.d; e += 16) {
    const F16 y = empty ? set1(0.0f) : div(numerator(args, m, e, top), den);
    store_some(out + e, y, args.d - e < 16 ? args.d - e : 16);
  }
}

// The weight of one block is 1, and what is added to 0 is a product.
static inline void write_single(const AttentionSumArgs& args, int m) {
  float* out = args.out + m * args.out_stride;
  const bool empty = args.sum[m] == 0.0f;
  const F16 factor = set1(args.largest[m] / 255.0f), den = set1(args.sum[m]);
  for (int e = 0; e < args.d; e += 16) {
    const F16 y = empty ? set1(0.0f) : div(mul(products(args, m, e, 0), factor), den);
    store_some(out + e, y, args.d - e < 16 ? args.d - e : 16);
  }
}

}  // namespace

void OCTAVO_LANES16(attention_sum_s32f32)(const AttentionSumArgs& args) noexcept {
  for (int m = 0; m < args.m; ++m) {
    if (args.blocks == 1) {
      write_single(args, m);
    } else {
      write_row(args, m);
    }
  }
}

}  // namespace octavo
