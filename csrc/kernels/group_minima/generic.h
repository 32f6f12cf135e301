// SPDX-License-Identifier: Apache-2.0
// group_minima over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/group_numbers16.h"
#include "kernels/group_minima/kernel.h"

namespace octavo {
namespace {

// One row takes so many panels at a time, so that chains of sums do not wait; panels take so many
// rows, which read their numbers once.
constexpr int kAtOnce = kLaneRegisters == 1 ? 8 : 4;

template <int Rows, int Panels>
static inline void block(const GroupMinimaArgs& args, int m0, int p) {
  const float* sums = args.sums + m0 * args.sums_stride;
  F16 c[Rows * Panels];  // one dimension: GCC 12 crashes over [1][1] in software
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Panels; ++i) c[i] = set1(0.0f);
  for (int64_t g = 0; g < args.groups; ++g) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      const F16 minima = NumbersOfPanel(args.minima, p + j)[g];
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        F16& sum = c[i * Panels + j];
        sum = fma(set1(sums[i * args.sums_stride + g]), minima, sum);
      }
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Panels; ++i) {
    float* row = args.c + (m0 + i / Panels) * args.c_stride;
    store(row + 16 * (p + i % Panels), c[i]);
  }
}

static inline void group_minima_generic(const GroupMinimaArgs& args) {
  int m = 0;
  for (; m + kAtOnce <= args.m; m += kAtOnce) {
    for (int p = 0; p < args.panels; ++p) block<kAtOnce, 1>(args, m, p);
  }
  for (; m < args.m; ++m) {
    int p = 0;
    for (; p + kAtOnce <= args.panels; p += kAtOnce) block<1, kAtOnce>(args, m, p);
    for (; p < args.panels; ++p) block<1, 1>(args, m, p);
  }
}

}  // namespace

void OCTAVO_LANES16(group_minima_f32)(const GroupMinimaArgs& args) noexcept {
  group_minima_generic(args);
}

}  // namespace octavo
