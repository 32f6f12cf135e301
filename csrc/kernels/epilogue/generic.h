// SPDX-License-Identifier: Apache-2.0
// epilogue over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/activation16.h"
#include "kernels/common/compiler.h"
#include "kernels/common/some16.h"
#include "kernels/epilogue/kernel.h"

namespace octavo {
namespace {

struct EpilogueRow {
  const int32_t* acc;
  I16 zero_point;
  F16 scale;
  const float* addend;
  const float* residual;
  void* out;
};

template <bool Scaled>
static OCTAVO_INLINE F16 scaled_sums(const EpilogueArgs& args, const EpilogueRow& row, int n0,
                                     int n) {
  if (Scaled) return load((const float*)(row.acc + n0));
  const I16 col_sum = n == 16 ? load_i(args.col_sum + n0) : load_i_n(args.col_sum + n0, n);
  const F16 scale = mul(row.scale, load_some(args.col_scale + n0, n));
  return mul(to_float(sub_i(load_i(row.acc + n0), mul_i(row.zero_point, col_sum))), scale);
}

static OCTAVO_INLINE void put_out(const EpilogueArgs& args, const EpilogueRow& row, int n0, int n,
                                  F16 y) {
  if (args.out_scale == nullptr) {
    store_some((float*)row.out + n0, y, n);
    return;
  }
  F16 q = div(y, set1(*args.out_scale));
  q = select(is_nan(q), set1(0.0f), q);
  q = min(max(q, set1(-512.0f)), set1(512.0f));  // int32 conversion is only defined below 2^31
  const I16 code = add_i(to_int(q), set1_i(args.out_zero_point));
  store_s8_n((int8_t*)row.out + n0, code, n);
}

template <Activation A, bool Scaled>
static OCTAVO_INLINE void some_columns(const EpilogueArgs& args, const EpilogueRow& row, int n0,
                                       int n) {
  F16 y = scaled_sums<Scaled>(args, row, n0, n);
  if (args.bias) y = add(y, load_some(args.bias + n0, n));
  if (row.addend) y = add(y, load_some(row.addend + n0, n));
  y = activate<A>(y);
  if (A == Activation::kRelu) y = min(set1(args.relu_high), y);  // as there, NaN stays
  if (row.residual) y = add(y, load_some(row.residual + n0, n));
  put_out(args, row, n0, n, y);
}

static inline const float* row_of(const float* rows, int64_t stride, int m) {
  return rows == nullptr ? nullptr : rows + m * stride;
}

// Row by row: each is written from end to end, and what belongs to columns is read again from L1.
// Sixteen columns down all rows took 1.6 times as long (Zen 5, AVX-512, 128x384, no activation).
template <Activation A, bool Scaled>
static inline void run_epilogue(const EpilogueArgs& given) {
  const EpilogueArgs args = given;  // a store may change what a reference leads to
  const int64_t item = args.out_scale == nullptr ? sizeof(float) : 1;
  for (int m = 0; m < args.m; ++m) {
    const EpilogueRow row = {args.acc + m * args.acc_stride,
                             set1_i(Scaled ? 0 : args.zero_point[m]),
                             set1(Scaled ? 0.0f : args.row_scale[m]),
                             row_of(args.addend, args.addend_stride, m),
                             row_of(args.residual, args.residual_stride, m),
                             (char*)args.out + m * args.out_stride * item};
    int n0 = 0;
    for (; n0 + 16 <= args.n; n0 += 16) some_columns<A, Scaled>(args, row, n0, 16);
    if (n0 < args.n) some_columns<A, Scaled>(args, row, n0, args.n - n0);
  }
}

template <Activation A>
struct EpilogueRun {
  static void run(const EpilogueArgs& args) {
    if (args.scaled) {
      run_epilogue<A, true>(args);
    } else {
      run_epilogue<A, false>(args);
    }
  }
};

}  // namespace

void OCTAVO_LANES16(epilogue_s32f32)(const EpilogueArgs& args) noexcept {
  with_activation<EpilogueRun>(args.activation, args);
}

}  // namespace octavo
