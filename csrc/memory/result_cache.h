// SPDX-License-Identifier: Apache-2.0
// Memory of large results that nothing sees any more, kept for the next ones. 64 MiB of fresh pages
// take 8 ms to come, the values that are written there 2; huge pages are in that already. NumPy's
// allocator keeps memory only below 32 MiB, and not where several results live at once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "memory/aligned_buffer.h"

namespace octavo {

// The bound, stated in docs/benchmarks.md: this many buffers, and bytes unless told otherwise.
constexpr std::size_t kMostKeptBuffers = 16;
constexpr std::size_t kMostKeptBytes = std::size_t{128} << 20;
// Smaller results are the allocator's: they cost less than what decides about them.
constexpr std::size_t kSmallestKept = std::size_t{1} << 20;

struct ResultCache {
  std::size_t limit;    // of bytes
  std::size_t bytes;    // kept now, without those that arrays see
  std::size_t buffers;  // kept now
};

// Whether results of so many bytes come from here.
bool is_kept_size(std::size_t bytes) noexcept;

// At least `bytes` with anything in them: the newest buffer of their size class, else a fresh one.
// Throws std::bad_alloc.
AlignedBuffer take_result(std::size_t bytes);

// Keeps what take_result gave; what is over the bound goes, oldest first.
void keep_result(AlignedBuffer buffer) noexcept;

// What a call needs beside scratch, from here: at least as large as what is kept.
class CallMemory {
 public:
  explicit CallMemory(std::int64_t bytes)
      : buffer_(take_result(std::max(kSmallestKept, static_cast<std::size_t>(bytes)))) {}
  ~CallMemory() { keep_result(std::move(buffer_)); }
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;

  template <class T>
  T* as() const {
    return buffer_.as<T>();
  }

 private:
  AlignedBuffer buffer_;
};

ResultCache result_cache() noexcept;

// Bytes to keep at most, from now on; 0: none.
void limit_result_cache(std::size_t bytes) noexcept;

}  // namespace octavo
