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

// What belongs to sixteen columns, loaded once for all rows of the block.
struct EpilogueColumns {
  I16 col_sum;
  F16 col_scale;
  F16 bias;
};

template <bool Scaled>
static inline F16 scaled_sums(const EpilogueArgs& args, int m, int n0, int n,
                              const EpilogueColumns& columns) {
  const int32_t* acc = args.acc + m * args.acc_stride + n0;
  F16 y;
  if (Scaled) {
    y = load((const float*)acc);
  } else {
    const I16 shift = mul_i(set1_i(args.zero_point[m]), columns.col_sum);
    const F16 scale = mul(set1(args.row_scale[m]), columns.col_scale);
    y = mul(to_float(sub_i(load_i(acc), shift)), scale);
  }
  if (args.bias) y = add(y, columns.bias);
  if (args.addend) y = add(y, load_some(args.addend + m * args.addend_stride + n0, n));
  return y;
}

static inline void finish(const EpilogueArgs& args, int m, int n0, int n, F16 y) {
  if (args.residual) y = add(y, load_some(args.residual + m * args.residual_stride + n0, n));
  put_out(args, m, n0, n, y);
}

// An exponential needs all registers for itself: rows wait in L1 while it passes over them in a
// loop of its own. GELU on 128x768 outputs, AVX2: 338 us in one loop, 189 in three.
constexpr int kRowsAtOnce = 32;

template <Activation A, bool Scaled>
static inline void activated_rows(const EpilogueArgs& args, int m0, int rows, int n0, int n,
                                  const EpilogueColumns& columns) {
  float y[kRowsAtOnce * 16];
  for (int i = 0; i < rows; ++i)
    store(y + 16 * i, scaled_sums<Scaled>(args, m0 + i, n0, n, columns));
  for (int i = 0; i < rows; ++i) store(y + 16 * i, activate<A>(load(y + 16 * i)));
  for (int i = 0; i < rows; ++i) finish(args, m0 + i, n0, n, load(y + 16 * i));
}

template <bool Scaled>
static inline EpilogueColumns load_columns(const EpilogueArgs& args, int n0, int n) {
  const F16 bias = args.bias ? load_some(args.bias + n0, n) : set1(0.0f);
  if (Scaled) return {set1_i(0), set1(0.0f), bias};
  return {n == 16 ? load_i(args.col_sum + n0) : load_i_n(args.col_sum + n0, n),
          load_some(args.col_scale + n0, n), bias};
}

template <Activation A, bool Scaled>
static inline void run_epilogue(const EpilogueArgs& args) {
  for (int n0 = 0; n0 < args.n; n0 += 16) {
    const int n = args.n - n0 < 16 ? args.n - n0 : 16;
    const EpilogueColumns columns = load_columns<Scaled>(args, n0, n);
    if (A == Activation::kNone || A == Activation::kRelu) {
      for (int m = 0; m < args.m; ++m) {
        finish(args, m, n0, n, activate<A>(scaled_sums<Scaled>(args, m, n0, n, columns)));
      }
      continue;
    }
    for (int m = 0; m < args.m; m += kRowsAtOnce) {
      const int rows = args.m - m < kRowsAtOnce ? args.m - m : kRowsAtOnce;
      activated_rows<A, Scaled>(args, m, rows, n0, n, columns);
    }
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
