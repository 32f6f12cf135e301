// SPDX-License-Identifier: Apache-2.0
// attention over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/attention/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/softmax16.h"

namespace octavo {
namespace {

// sum[r] = row r of a (k long) times one panel (k groups of 16).
template <int Rows>
static inline void row_products(const float* a, int64_t a_stride, int64_t k, const float* panel,
                                F16* sum) {
  F16 s[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) s[r] = set1(0.0f);
  for (int64_t i = 0; i < k; ++i) {
    const F16 b = load(panel + 16 * i);
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) s[r] = fma(set1(a[r * a_stride + i]), b, s[r]);
  }
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) sum[r] = s[r];
}

template <int Rows>
static inline void attend(const AttentionArgs& args, int64_t m) {
  const int64_t n_pad = (args.n + 15) / 16 * 16;
  F16 sum[Rows];
  for (int64_t j = 0; j < args.n; j += 16) {
    row_products<Rows>(args.q + m * args.q_stride, args.q_stride, args.d,
                       args.k_panels + j * args.d, sum);
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      store(args.scores + r * n_pad + j, mul(sum[r], set1(args.scale)));
    }
  }
  softmax_rows<Rows>(args.scores, n_pad, args.n, args.scores, n_pad);
  for (int64_t e = 0; e < args.d; e += 16) {
    row_products<Rows>(args.scores, n_pad, args.n, args.v_panels + e * args.n, sum);
    const int rest = args.d - e < 16 ? (int)(args.d - e) : 16;
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      float* out = args.out + (m + r) * args.out_stride + e;
      if (rest == 16) {
        store(out, sum[r]);
      } else {
        store_n(out, sum[r], rest);
      }
    }
  }
}

static inline void attention_generic(const AttentionArgs& args) {
  int64_t m = 0;
  for (; m + kAttentionRows <= args.m; m += kAttentionRows) attend<kAttentionRows>(args, m);
  switch (args.m - m) {
    case 5: return attend<5>(args, m);
    case 4: return attend<4>(args, m);
    case 3: return attend<3>(args, m);
    case 2: return attend<2>(args, m);
    case 1: return attend<1>(args, m);
    default: return;
  }
}

}  // namespace
}  // namespace octavo
