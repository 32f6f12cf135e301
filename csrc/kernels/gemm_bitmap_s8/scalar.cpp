// SPDX-License-Identifier: Apache-2.0
// gemm_bitmap_s8 in portable C++: a step per value that is not zero.
#include "kernels/gemm_bitmap_s8/kernel.h"

namespace octavo {

void gemm_bitmap_s8s8s32_1x16x4_scalar(const GemmBitmapS8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    for (int m = 0; m < args.m; ++m) {
      const int8_t* a = (const int8_t*)args.a + m * args.a_stride;
      const int8_t* value = args.b.value + args.b.first_value[p * args.b.first_stride];
      uint32_t sum[16] = {};
      for (int g = 0; g < args.k_groups; ++g) {
        uint64_t mask = args.b.mask[p * args.b.mask_stride + g];
        for (int i = 0; mask != 0; ++i, mask >>= 1) {
          if (mask & 1) sum[i / 4] += (uint32_t)(a[4 * g + i % 4] * *value++);
        }
      }
      for (int n = 0; n < 16; ++n) args.c[m * args.c_stride + 16 * p + n] = (int32_t)sum[n];
    }
  }
}

}  // namespace octavo
