// SPDX-License-Identifier: Apache-2.0
#include "memory/aligned_buffer.h"

#include <cstdint>
#include <new>
#include <stdexcept>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace octavo {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
// No weight is larger, and allocators may abort where they cannot even try.
constexpr std::size_t kMostBytes = std::size_t{1} << 40;

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t bytes)
    : bytes_(bytes), alignment_(bytes >= 2 * kHugePage ? kHugePage : 64) {
  if (bytes >= kMostBytes) throw std::bad_alloc();
  data_ = ::operator new(bytes == 0 ? 1 : bytes, std::align_val_t(alignment_));
#if defined(__linux__)
  // Only whole huge pages: rounding the tail up would cost resident memory.
  if (alignment_ == kHugePage) madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
}

AlignedBuffer::AlignedBuffer(const void* data, std::size_t bytes,
                             std::shared_ptr<const void> keeper)
    : data_(const_cast<void*>(data)), bytes_(bytes), keeper_(std::move(keeper)) {
  if (bytes != 0 && reinterpret_cast<std::uintptr_t>(data) % alignment_ != 0) {
    throw std::invalid_argument("packed: expected bytes aligned to 64");
  }
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr && keeper_ == nullptr)
    ::operator delete(data_, std::align_val_t(alignment_));
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      alignment_(other.alignment_),
      keeper_(std::move(other.keeper_)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(alignment_, other.alignment_);
  std::swap(keeper_, other.keeper_);
  return *this;
}

}  // namespace octavo
