// SPDX-License-Identifier: Apache-2.0
// gemm_bitmap_s8 with NEON registers: a group goes from its packed bytes straight into dot4. A
// tier's file includes its dot4_*.h first.
#pragma once
#include "kernels/common/codes_neon.h"
#include "kernels/expand_s8/expand_neon.h"
#include "kernels/gemm_bitmap_s8/kernel.h"

namespace octavo {
namespace {

template <int Rows>
static inline void panel(const GemmBitmapS8Args& args, int p, int m0) {
  const int8_t* value = args.b.value + args.b.first_value[p * args.b.first_stride];
  const uint64_t* mask = args.b.mask + p * args.b.mask_stride;
  Sum4 sum[Rows][4];
  OCTAVO_UNROLL
  for (int i = 0; i < 4 * Rows; ++i) sum[i / 4][i % 4] = no_sum();
  for (int g = 0; g < args.k_groups; ++g) {
    int8x16_t b[4];
    value = expand_group(mask[g], value, b);
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const int8x16_t a = broadcast4(args.a + (m0 + i) * args.a_stride + 4 * (int64_t)g);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) sum[i][j] = dot4(sum[i][j], a, b[j]);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    int32_t* c = args.c + (m0 + i) * args.c_stride + 16 * p;
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) vst1q_s32(c + 4 * j, total(sum[i][j]));
  }
}

template <int Rows>
static inline void all_panels(const GemmBitmapS8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    int m = 0;
    for (; m + Rows <= args.m; m += Rows) panel<Rows>(args, p, m);
    for (; m < args.m; ++m) panel<1>(args, p, m);
  }
}

}  // namespace
}  // namespace octavo
