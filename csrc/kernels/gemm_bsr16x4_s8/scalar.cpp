// SPDX-License-Identifier: Apache-2.0
// gemm_bsr16x4_s8 in portable C++, written so that a compiler can vectorize the sixteen columns.
#include "kernels/gemm_bsr16x4_s8/kernel.h"

namespace octavo {
namespace {

void panel_row(const GemmBsr16x4S8Args& args, int p, const int8_t* a, int32_t* c) {
  uint32_t sum[16] = {};
  for (uint32_t t = args.b.first[p]; t < args.b.first[p + 1]; ++t) {
    const int8_t* four = a + 4 * args.b.index[t];
    const int8_t* column = args.b.code + 64 * (int64_t)t;
    for (int n = 0; n < 16; ++n) {
      sum[n] += (uint32_t)(four[0] * column[4 * n] + four[1] * column[4 * n + 1] +
                           four[2] * column[4 * n + 2] + four[3] * column[4 * n + 3]);
    }
  }
  for (int n = 0; n < 16; ++n) c[n] = (int32_t)sum[n];
}

}  // namespace

void gemm_bsr16x4_s8s8s32_1x16x4_scalar(const GemmBsr16x4S8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    for (int m = 0; m < args.m; ++m) {
      panel_row(args, p, (const int8_t*)args.a + m * args.a_stride,
                args.c + m * args.c_stride + 16 * p);
    }
  }
}

}  // namespace octavo
