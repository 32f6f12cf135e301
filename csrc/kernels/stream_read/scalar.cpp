// SPDX-License-Identifier: Apache-2.0
#include "kernels/stream_read/kernel.h"

namespace octavo {

void stream_read_u8_scalar(const StreamReadArgs& args) noexcept {
  uint64_t sum[8] = {};
  for (int64_t i = 0; i < args.bytes; i += 64) {
    const uint64_t* line = (const uint64_t*)(args.data + i);
    for (int j = 0; j < 8; ++j) sum[j] ^= line[j];
  }
  for (int j = 1; j < 8; ++j) sum[0] ^= sum[j];
  *args.sink = sum[0];
}

}  // namespace octavo
