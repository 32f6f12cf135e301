// SPDX-License-Identifier: Apache-2.0
// Kernel family stream_read: the roofline's memory limit, a pass over bytes that only reads them.
#pragma once
#include <stdint.h>

namespace octavo {

struct StreamReadArgs {
  const uint8_t* data;
  int64_t bytes;   // a multiple of 256
  uint64_t* sink;  // out: keeps the compiler from dropping the reads
};

}  // namespace octavo
