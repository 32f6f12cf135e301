// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/neon.h"
#include "kernels/common/compiler.h"
#include "kernels/stream_read/kernel.h"

namespace octavo {

void stream_read_u8_neon(const StreamReadArgs& args) noexcept {
  uint8x16_t sum[16];
  OCTAVO_UNROLL
  for (int j = 0; j < 16; ++j) sum[j] = vdupq_n_u8(0);
  for (int64_t i = 0; i < args.bytes; i += 256) {
    OCTAVO_UNROLL
    for (int j = 0; j < 16; ++j) sum[j] = veorq_u8(sum[j], vld1q_u8(args.data + i + 16 * j));
  }
  OCTAVO_UNROLL
  for (int j = 1; j < 16; ++j) sum[0] = veorq_u8(sum[0], sum[j]);
  *args.sink = vgetq_lane_u64(vreinterpretq_u64_u8(sum[0]), 0);
}

}  // namespace octavo
