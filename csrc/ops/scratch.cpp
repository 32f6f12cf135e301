// SPDX-License-Identifier: Apache-2.0
#include "ops/scratch.h"

#include "memory/aligned_buffer.h"

namespace octavo {

std::uint8_t* scratch(std::size_t bytes) {
  thread_local AlignedBuffer buffer;
  if (buffer.size() < bytes) {
    buffer = AlignedBuffer();  // free the old one first
    buffer = AlignedBuffer(bytes + bytes / 4);
  }
  return buffer.as<std::uint8_t>();
}

}  // namespace octavo
