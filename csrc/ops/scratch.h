// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

#include "memory/sizes.h"

namespace octavo {

// At least `bytes` of the calling thread's scratch memory, aligned to 64; valid until the thread's
// next call. Kept between calls, so that a warm call allocates nothing. Throws std::bad_alloc.
std::uint8_t* scratch(std::size_t bytes);

// The memory of a worker of run_steps() (ops/work_split.h): what the task has, or if it helps its
// own thread's.
inline std::uint8_t* scratch_of(int worker, std::uint8_t* of_task, std::int64_t bytes) {
  return worker == 0 ? of_task : scratch(static_cast<std::size_t>(bytes));
}

// Where the parts of a piece of scratch begin, each aligned to 64.
class ScratchLayout {
 public:
  // Returns where `count` items of `size` bytes begin.
  std::int64_t add(std::int64_t count, std::int64_t size) {
    const std::int64_t at = bytes_;
    bytes_ = checked_add(at, round_up(checked_mul(count, size), 64));
    return at;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t bytes_ = 0;
};

}  // namespace octavo
