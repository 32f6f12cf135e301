// SPDX-License-Identifier: Apache-2.0
// attention over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/attention/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/softmax16.h"
#include "kernels/common/some16.h"

namespace octavo {
namespace {

// Six rows of one register are six chains of multiply-adds, fewer than may be in flight: two panels
// at once make twelve. On Zen 5 1.2 to 1.3 times as fast (128 and 512 keys, heads of 32 and 64).
constexpr int kPanels = kLaneRegisters == 1 ? 2 : 1;

// sum[p][r] = row r of a (k long) times panel p (k groups of 16 each).
template <int Rows, int Panels>
static inline void row_products(const float* a, int64_t a_stride, int64_t k, const float* panels,
                                F16 (&sum)[Panels][Rows]) {
  F16 s[Panels][Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Panels * Rows; ++r) s[r / Rows][r % Rows] = set1(0.0f);
  for (int64_t i = 0; i < k; ++i) {
    F16 b[Panels];
    OCTAVO_UNROLL
    for (int p = 0; p < Panels; ++p) b[p] = load(panels + 16 * (p * k + i));
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const F16 factor = set1(a[r * a_stride + i]);
      OCTAVO_UNROLL
      for (int p = 0; p < Panels; ++p) s[p][r] = fma(factor, b[p], s[p][r]);
    }
  }
  OCTAVO_UNROLL
  for (int r = 0; r < Panels * Rows; ++r) sum[r / Rows][r % Rows] = s[r / Rows][r % Rows];
}

// Scores of keys [j, j + 16 * Panels).
template <int Rows, int Panels>
static inline void score(const AttentionArgs& args, int64_t m, int64_t j, int64_t n_pad) {
  F16 sum[Panels][Rows];
  row_products(args.q + m * args.q_stride, args.q_stride, args.d, args.k_panels + j * args.d, sum);
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    OCTAVO_UNROLL
    for (int p = 0; p < Panels; ++p) {
      const F16 scale = set1(args.scale);
      const float* bias = args.bias + (m + r) * n_pad + j + 16 * p;
      store(args.scores + r * n_pad + j + 16 * p,
            args.bias ? fma(sum[p][r], scale, load(bias)) : mul(sum[p][r], scale));
    }
  }
}

// Columns [e, e + 16 * Panels) of the result; the last panel may be narrower.
template <int Rows, int Panels>
static inline void weigh(const AttentionArgs& args, int64_t m, int64_t e, int64_t n_pad) {
  F16 sum[Panels][Rows];
  row_products(args.scores, n_pad, args.n, args.v_panels + e * args.n, sum);
  OCTAVO_UNROLL
  for (int p = 0; p < Panels; ++p) {
    const int64_t column = e + 16 * p;
    const int rest = args.d - column < 16 ? (int)(args.d - column) : 16;
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      store_some(args.out + (m + r) * args.out_stride + column, sum[p][r], rest);
    }
  }
}

template <int Rows>
static inline void attend(const AttentionArgs& args, int64_t m) {
  const int64_t n_pad = (args.n + 15) / 16 * 16;
  int64_t j = 0, e = 0;
  for (; j + 16 * (kPanels - 1) < args.n; j += 16 * kPanels)
    score<Rows, kPanels>(args, m, j, n_pad);
  if (j < args.n) score<Rows, 1>(args, m, j, n_pad);
  softmax_rows<Rows>(args.scores, n_pad, args.n, args.scores, n_pad);
  for (; e + 16 * (kPanels - 1) < args.d; e += 16 * kPanels)
    weigh<Rows, kPanels>(args, m, e, n_pad);
  if (e < args.d) weigh<Rows, 1>(args, m, e, n_pad);
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

void OCTAVO_LANES16(attention_f32)(const AttentionArgs& args) noexcept { attention_generic(args); }

}  // namespace octavo
