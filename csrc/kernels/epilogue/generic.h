// SPDX-License-Identifier: Apache-2.0
// epilogue over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/activation16.h"
#include "kernels/epilogue/kernel.h"

namespace octavo {
namespace {

static inline F16 load_some(const float* p, int n) { return n == 16 ? load(p) : load_n(p, n); }

static inline void put_out(const EpilogueArgs& args, int m, int n0, int n, F16 y) {
  const int64_t at = m * args.out_stride + n0;
  if (args.out_scale == nullptr) {
    float* out = (float*)args.out + at;
    if (n == 16) {
      store(out, y);
    } else {
      store_n(out, y, n);
    }
    return;
  }
  F16 q = div(y, set1(*args.out_scale));
  q = select(is_nan(q), set1(0.0f), q);
  q = min(max(q, set1(-512.0f)), set1(512.0f));  // int32 conversion is only defined below 2^31
  const I16 code = add_i(to_int(q), set1_i(args.out_zero_point));
  store_s8_n((int8_t*)args.out + at, code, n);
}

template <Activation A>
struct EpilogueRun {
  static void run(const EpilogueArgs& args) {
    // Columns outside: what belongs to a column is loaded once for all rows of the block.
    for (int n0 = 0; n0 < args.n; n0 += 16) {
      const int n = args.n - n0 < 16 ? args.n - n0 : 16;
      const I16 col_sum = n == 16 ? load_i(args.col_sum + n0) : load_i_n(args.col_sum + n0, n);
      const F16 col_scale = load_some(args.col_scale + n0, n);
      const F16 bias = args.bias ? load_some(args.bias + n0, n) : set1(0.0f);
      for (int m = 0; m < args.m; ++m) {
        const I16 acc = load_i(args.acc + m * args.acc_stride + n0);
        const I16 shift = mul_i(set1_i(args.zero_point[m]), col_sum);
        F16 y = mul(to_float(sub_i(acc, shift)), mul(set1(args.row_scale[m]), col_scale));
        if (args.bias) y = add(y, bias);
        y = activate<A>(y);
        if (args.residual) y = add(y, load_some(args.residual + m * args.residual_stride + n0, n));
        put_out(args, m, n0, n, y);
      }
    }
  }
};

}  // namespace
}  // namespace octavo
