// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr1x4_s8 in portable C++.
#include "kernels/broadcast_bsr1x4_s8/kernel.h"

namespace octavo {

void broadcast_bsr1x4_s8s8s32_32x1x4_scalar(const BroadcastBsr1x4S8Args& args) noexcept {
  const int64_t stride = 4 * ((args.m + 7) / 8 * 8);
  for (int n = 0; n < 16 * args.b.panels; ++n) {
    uint32_t sum[32] = {};
    for (uint32_t t = args.b.first[n]; t < args.b.first[n + 1]; ++t) {
      const int8_t* b = args.b.code + 4 * (int64_t)t;
      const int8_t* a = (const int8_t*)args.tile + stride * args.b.index[t];
      for (int m = 0; m < args.m; ++m) {
        const int8_t* four = a + 4 * m;
        sum[m] += (uint32_t)(four[0] * b[0] + four[1] * b[1] + four[2] * b[2] + four[3] * b[3]);
      }
    }
    for (int m = 0; m < args.m; ++m) args.c[m * args.c_stride + n] = (int32_t)sum[m];
  }
}

}  // namespace octavo
