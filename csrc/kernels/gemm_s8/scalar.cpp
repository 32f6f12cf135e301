// SPDX-License-Identifier: Apache-2.0
// gemm_s8 in portable C++, written so that a compiler can vectorize the sixteen columns.
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

void panel_row(const int8_t* a, const int8_t* b, int32_t* c, int k_groups, bool accumulate) {
  uint32_t sum[16];
  for (int n = 0; n < 16; ++n) sum[n] = accumulate ? (uint32_t)c[n] : 0u;
  for (int g = 0; g < k_groups; ++g) {
    // As int8: widened first, GCC 12 multiplies in 32 bits, 3.4 times as slow on SSE2.
    const int8_t* four = a + 4 * (int64_t)g;
    const int8_t* column = b + 64 * (int64_t)g;
    for (int n = 0; n < 16; ++n) {
      sum[n] += (uint32_t)(four[0] * column[4 * n] + four[1] * column[4 * n + 1] +
                           four[2] * column[4 * n + 2] + four[3] * column[4 * n + 3]);
    }
  }
  for (int n = 0; n < 16; ++n) c[n] = (int32_t)sum[n];
}

}  // namespace

void gemm_s8s8s32_1x16x4_scalar(const GemmS8Args& args) noexcept {
  for (int p = 0; p < args.panels; ++p) {
    const int8_t* b = args.b + p * args.b_panel_stride;
    for (int m = 0; m < args.m; ++m) {
      panel_row((const int8_t*)args.a + m * args.a_stride, b, args.c + m * args.c_stride + 16 * p,
                args.k_groups, args.accumulate);
    }
  }
}

}  // namespace octavo
