// SPDX-License-Identifier: Apache-2.0
// layer_norm over sixteen lanes; a tier's file includes its lanes first. Rows are taken four at a
// time, because the additions of one row wait for each other.
#pragma once
#include <math.h>

#include "kernels/common/compiler.h"
#include "kernels/common/some16.h"
#include "kernels/layer_norm/kernel.h"

namespace octavo {
namespace {

// A view of the rows in work. v is out where a residual was added, x otherwise.
template <int Rows>
struct NormRows {
  const float* v[Rows];
  float* out[Rows];
  float mean[Rows];
  float factor[Rows];
};

// Adds n columns from i on.
template <int Rows>
static inline void add_columns(const LayerNormArgs& args, int64_t m, const NormRows<Rows>& rows,
                               int64_t i, int n, F16 (&sum)[Rows]) {
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    F16 v = load_some(args.x + (m + r) * args.x_stride + i, n);
    if (args.residual) {
      v = add(v, load_some(args.residual + (m + r) * args.residual_stride + i, n));
      store_some(rows.out[r] + i, v, n);
    }
    sum[r] = add(sum[r], v);  // lanes beyond n hold +0
  }
}

template <int Rows>
static inline void sum_rows(const LayerNormArgs& args, int64_t m, NormRows<Rows>& rows) {
  F16 sum[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) sum[r] = set1(0.0f);
  int64_t i = 0;
  for (; i + 16 <= args.n; i += 16) add_columns<Rows>(args, m, rows, i, 16, sum);
  if (i < args.n) add_columns<Rows>(args, m, rows, i, (int)(args.n - i), sum);
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) rows.mean[r] = reduce_add(sum[r]) / (float)args.n;
}

template <int Rows>
static inline void variance_of_rows(const LayerNormArgs& args, NormRows<Rows>& rows) {
  F16 sum[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) sum[r] = set1(0.0f);
  int64_t i = 0;
  for (; i + 16 <= args.n; i += 16) {
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const F16 d = sub(load(rows.v[r] + i), set1(rows.mean[r]));
      sum[r] = fma(d, d, sum[r]);
    }
  }
  if (i < args.n) {
    const int n = (int)(args.n - i);
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const F16 d = sub(load_n(rows.v[r] + i, n), set1(rows.mean[r]));
      sum[r] = select(first_n(n), fma(d, d, sum[r]), sum[r]);
    }
  }
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const float variance = reduce_add(sum[r]) / (float)args.n;
    rows.factor[r] = 1.0f / sqrtf(variance + args.eps);
  }
}

template <int Rows>
static inline void write_columns(const LayerNormArgs& args, const NormRows<Rows>& rows, int64_t i,
                                 int n) {
  const F16 weight = args.weight ? load_some(args.weight + i, n) : set1(1.0f);
  const F16 bias = args.bias ? load_some(args.bias + i, n) : set1(-0.0f);
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const F16 d = sub(load_some(rows.v[r] + i, n), set1(rows.mean[r]));
    store_some(rows.out[r] + i, fma(mul(d, set1(rows.factor[r])), weight, bias), n);
  }
}

template <int Rows>
static inline void write_rows(const LayerNormArgs& args, const NormRows<Rows>& rows) {
  int64_t i = 0;
  for (; i + 16 <= args.n; i += 16) write_columns<Rows>(args, rows, i, 16);
  if (i < args.n) write_columns<Rows>(args, rows, i, (int)(args.n - i));
}

template <int Rows>
static inline void norm_rows(const LayerNormArgs& args, int64_t m) {
  NormRows<Rows> rows;
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    rows.out[r] = args.out + (m + r) * args.out_stride;
    rows.v[r] = args.residual ? rows.out[r] : args.x + (m + r) * args.x_stride;
  }
  sum_rows<Rows>(args, m, rows);
  variance_of_rows<Rows>(args, rows);
  write_rows<Rows>(args, rows);
}

static inline void layer_norm_generic(const LayerNormArgs& args) {
  int64_t m = 0;
  for (; m + 4 <= args.m; m += 4) norm_rows<4>(args, m);
  for (; m < args.m; ++m) norm_rows<1>(args, m);
}

}  // namespace

void OCTAVO_LANES16(layer_norm_f32)(const LayerNormArgs& args) noexcept {
  layer_norm_generic(args);
}

}  // namespace octavo
