// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr4x1_s8 in portable C++.
#include "kernels/broadcast_bsr4x1_s8/kernel.h"

namespace octavo {

void broadcast_bsr4x1_s8s8s32_32x4x4_scalar(const BroadcastBsr4x1S8Args& args) noexcept {
  const int8_t* tile = (const int8_t*)args.tile;
  const int outputs = args.b.outputs;
  for (int n = 0; n < 16 * args.b.panels; ++n) {
    uint32_t sum[32] = {};
    for (uint32_t t = args.b.first[n / outputs]; t < args.b.first[n / outputs + 1]; ++t) {
      const int8_t* b = args.b.code + 4 * (outputs * (int64_t)t + n % outputs);
      const uint16_t* index = args.b.index + 4 * (int64_t)t;
      const int8_t* a0 = tile + args.rows * index[0];
      const int8_t* a1 = tile + args.rows * index[1];
      const int8_t* a2 = tile + args.rows * index[2];
      const int8_t* a3 = tile + args.rows * index[3];
      for (int m = 0; m < args.m; ++m) {
        sum[m] += (uint32_t)(a0[m] * b[0] + a1[m] * b[1] + a2[m] * b[2] + a3[m] * b[3]);
      }
    }
    for (int m = 0; m < args.m; ++m) {
      int32_t* c = args.c + m * args.c_stride + n;
      *c = (int32_t)(sum[m] + (args.add ? (uint32_t)*c : 0));
    }
  }
}

}  // namespace octavo
