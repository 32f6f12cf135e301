// SPDX-License-Identifier: Apache-2.0
// broadcast_windowed_s8 in portable C++, written so that a compiler can vectorize the 32 rows.
#include "kernels/broadcast_windowed_s8/kernel.h"
#include "kernels/gather_s8/slots.h"

namespace octavo {

void broadcast_windowed_s8s8s32_32x1x1_scalar(const BroadcastWindowedS8Args& args) noexcept {
  for (int n = 0; n < 16 * args.b.panels; ++n) {
    const int p = n / 16;
    uint32_t sum[32] = {};
    for (uint32_t t = args.b.first_step[p]; t < args.b.first_step[p + 1]; ++t) {
      const uint8_t* step = args.b.step + t * step_bytes(args.b.kind);
      const uint32_t index = column_index(step, args.b.kind, n % 16);
      const int8_t* value = (const int8_t*)step + 4 * (n % 16);
      for (int s = 0; s < 4; ++s) {
        const int64_t k = args.b.window[t] + (index >> 8 * s & 255);
        const int8_t* a = (const int8_t*)args.tile + 32 * k;
        const int32_t b = value[s];
        for (int m = 0; m < 32; ++m) sum[m] += (uint32_t)(a[m] * b);
      }
    }
    for (int m = 0; m < args.m; ++m) args.c[m * args.c_stride + n] = (int32_t)sum[m];
  }
}

}  // namespace octavo
