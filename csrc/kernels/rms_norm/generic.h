// SPDX-License-Identifier: Apache-2.0
// rms_norm over sixteen lanes; a tier's file includes its lanes first. Rows are taken four at a
// time, because the additions of one row wait for each other.
#pragma once
#include <math.h>

#include "kernels/common/compiler.h"
#include "kernels/common/some16.h"
#include "kernels/rms_norm/kernel.h"

namespace octavo {
namespace {

template <int Rows>
static inline void add_columns(const RmsNormArgs& args, int64_t m, int64_t i, int n,
                               F16 (&sum)[Rows]) {
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const F16 v = load_some(args.x + (m + r) * args.x_stride + i, n);
    sum[r] = fma(v, v, sum[r]);  // lanes beyond n hold +0
  }
}

template <int Rows>
static inline void write_columns(const RmsNormArgs& args, int64_t m, int64_t i, int n,
                                 const float (&factor)[Rows]) {
  const F16 weight = args.weight ? load_some(args.weight + i, n) : set1(1.0f);
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const F16 v = mul(load_some(args.x + (m + r) * args.x_stride + i, n), set1(factor[r]));
    const F16 added =
        args.addend ? load_some(args.addend + (m + r) * args.addend_stride + i, n) : set1(-0.0f);
    store_some(args.out + (m + r) * args.out_stride + i, fma(v, weight, added), n);
  }
}

template <int Rows>
static inline void norm_rows(const RmsNormArgs& args, int64_t m) {
  F16 sum[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) sum[r] = set1(0.0f);
  int64_t i = 0;
  for (; i + 16 <= args.n; i += 16) add_columns<Rows>(args, m, i, 16, sum);
  if (i < args.n) add_columns<Rows>(args, m, i, (int)(args.n - i), sum);
  float factor[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    factor[r] = 1.0f / sqrtf(reduce_add(sum[r]) / (float)args.n + args.eps);
  }
  for (i = 0; i + 16 <= args.n; i += 16) write_columns<Rows>(args, m, i, 16, factor);
  if (i < args.n) write_columns<Rows>(args, m, i, (int)(args.n - i), factor);
}

}  // namespace

void OCTAVO_LANES16(rms_norm_f32)(const RmsNormArgs& args) noexcept {
  int64_t m = 0;
  for (; m + 4 <= args.m; m += 4) norm_rows<4>(args, m);
  for (; m < args.m; ++m) norm_rows<1>(args, m);
}

}  // namespace octavo
