// SPDX-License-Identifier: Apache-2.0
// Softmax of a few rows (contract: kernels/softmax/kernel.h); include after lanes16_*.h. Each step
// runs over all rows before the next, so that the rows' reductions do not wait for each other.
#pragma once
#include <math.h>

#include "kernels/common/math16.h"

namespace octavo {
namespace {

// The maximum without NaNs: a NaN shows in its own exponential and so in the sum.
static inline float row_max(const float* x, int64_t n) {
  F16 top[2] = {set1(-INFINITY), set1(-INFINITY)};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    top[0] = most(load(x + i), top[0]);
    top[1] = most(load(x + i + 16), top[1]);
  }
  for (; i + 16 <= n; i += 16) top[0] = most(load(x + i), top[0]);
  if (i < n) {
    const int rest = (int)(n - i);
    top[1] = most(select(first_n(rest), load_n(x + i, rest), set1(-INFINITY)), top[1]);
  }
  return reduce_max(most(top[0], top[1]));
}

// out = exp(x - top); returns the sum.
static inline float exp_row(const float* x, int64_t n, F16 top, float* out) {
  F16 sum = set1(0.0f);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F16 e = exp16(sub(load(x + i), top));
    store(out + i, e);
    sum = add(sum, e);
  }
  if (i < n) {
    const int rest = (int)(n - i);
    const F16 e = exp16(sub(load_n(x + i, rest), top));
    store_n(out + i, e, rest);
    sum = add(sum, select(first_n(rest), e, set1(0.0f)));
  }
  return reduce_add(sum);
}

static inline void divide_row(float* x, int64_t n, F16 divisor) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, div(load(x + i), divisor));
  if (i == n) return;
  const int rest = (int)(n - i);
  store_n(x + i, div(load_n(x + i, rest), divisor), rest);
}

// out may be x.
template <int Rows>
static inline void softmax_rows(const float* x, int64_t x_stride, int64_t n, float* out,
                                int64_t out_stride) {
  float top[Rows], sum[Rows];
  for (int r = 0; r < Rows; ++r) top[r] = row_max(x + r * x_stride, n);
  for (int r = 0; r < Rows; ++r) {
    sum[r] = exp_row(x + r * x_stride, n, set1(top[r]), out + r * out_stride);
  }
  for (int r = 0; r < Rows; ++r) divide_row(out + r * out_stride, n, set1(sum[r]));
}

}  // namespace
}  // namespace octavo
