// SPDX-License-Identifier: Apache-2.0
#include "kernels/gather_s8/kernel.h"
#include "kernels/gather_s8/slots.h"

namespace octavo {

void gather_s8s8s32_1x16x4_scalar(const GatherS8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    for (int m = 0; m < args.m; ++m) {
      const int8_t* a = (const int8_t*)args.a + m * args.a_stride;
      uint32_t sum[16] = {};
      for (uint32_t t = args.b.first_step[p]; t < args.b.first_step[p + 1]; ++t) {
        const uint8_t* step = args.b.step + t * step_bytes(args.b.kind);
        const int8_t* window = a + args.b.window[t];
        for (int n = 0; n < 16; ++n) {
          const uint32_t index = column_index(step, args.b.kind, n);
          const int8_t* value = (const int8_t*)step + 4 * n;
          for (int s = 0; s < 4; ++s) {
            sum[n] += (uint32_t)(window[index >> 8 * s & 255] * value[s]);
          }
        }
      }
      for (int n = 0; n < 16; ++n) args.c[m * args.c_stride + 16 * p + n] = (int32_t)sum[n];
    }
  }
}

}  // namespace octavo
