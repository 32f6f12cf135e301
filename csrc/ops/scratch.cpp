// SPDX-License-Identifier: Apache-2.0
#include "ops/scratch.h"

#include <vector>

#include "memory/aligned_buffer.h"
#include "threads/interrupt.h"
#include "threads/pool.h"

namespace octavo {

std::uint8_t* scratch(std::size_t bytes) {
  thread_local std::vector<AlignedBuffer> buffers(1);
  // What runs while a call waits (a signal's handler, say) leaves that call's scratch alone, and so
  // does a task, which may be another call's: a thread that is done helps.
  const auto depth = static_cast<std::size_t>(waiting_calls() + task_depth());
  if (buffers.size() <= depth) buffers.resize(depth + 1);
  AlignedBuffer& buffer = buffers[depth];
  if (buffer.size() < bytes) {
    buffer = AlignedBuffer();  // free the old one first
    buffer = AlignedBuffer(bytes + bytes / 4);
  }
  return buffer.as<std::uint8_t>();
}

}  // namespace octavo
