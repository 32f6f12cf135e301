// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <memory>

namespace octavo {

// Bytes aligned to 64; from 4 MiB up also to 2 MiB, with huge pages asked for where the system has
// them (fewer TLB misses while a large weight streams by). Throws std::bad_alloc.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes);
  // A view of bytes that last as long as `keeper`, and that nobody writes to. Throws
  // std::invalid_argument where they are not aligned to 64.
  AlignedBuffer(const void* data, std::size_t bytes, std::shared_ptr<const void> keeper);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t size() const { return bytes_; }
  bool is_view() const { return keeper_ != nullptr; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t alignment_ = 64;
  std::shared_ptr<const void> keeper_;  // null: the bytes are this object's own
};

}  // namespace octavo
