// SPDX-License-Identifier: Apache-2.0
// gemm_bsr16x4_s8 with NEON registers; a tier's file includes its dot4_*.h first.
#pragma once
#include "kernels/common/codes_neon.h"
#include "kernels/gemm_bsr16x4_s8/kernel.h"

namespace octavo {
namespace {

template <int Rows>
static inline void panel(const GemmBsr16x4S8Args& args, int p, int m0) {
  const uint8_t* row[Rows];
  Sum4 sum[Rows][4];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    row[i] = args.a + (m0 + i) * args.a_stride;
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) sum[i][j] = no_sum();
  }
  const uint32_t first = args.b.first[p];
  const int8_t* code = args.b.code + 64 * (int64_t)first;
  const uint16_t* index = args.b.index + first;
  const uint16_t* const end = args.b.index + args.b.first[p + 1];
  for (; index != end; ++index, code += 64) {
    const int64_t at = 4 * (int64_t)*index;
    int8x16_t b[4];
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) b[j] = load16(code + 16 * j);
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const int8x16_t a = broadcast4(row[i] + at);
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
static inline void all_panels(const GemmBsr16x4S8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    int m = 0;
    for (; m + Rows <= args.m; m += Rows) panel<Rows>(args, p, m);
    for (; m < args.m; ++m) panel<1>(args, p, m);
  }
}

}  // namespace
}  // namespace octavo
