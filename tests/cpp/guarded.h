// SPDX-License-Identifier: Apache-2.0
// Arrays between inaccessible pages: a kernel that reads or writes past an end crashes the test.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>

#if defined(_WIN32)
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace octavo_test {

#if defined(_WIN32)

inline std::size_t page_bytes() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
}
inline void* reserve(std::size_t bytes) {
  return VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS);
}
inline bool open_pages(void* first, std::size_t bytes) {
  return VirtualAlloc(first, bytes, MEM_COMMIT, PAGE_READWRITE) != nullptr;
}
inline void release(void* base, std::size_t) { VirtualFree(base, 0, MEM_RELEASE); }

#else

inline std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
inline void* reserve(std::size_t bytes) {
  void* base = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return base == MAP_FAILED ? nullptr : base;
}
inline bool open_pages(void* first, std::size_t bytes) {
  return mprotect(first, bytes, PROT_READ | PROT_WRITE) == 0;
}
inline void release(void* base, std::size_t bytes) { munmap(base, bytes); }

#endif

// Which end of the array touches an inaccessible page.
enum class Edge { kEnd, kFront };

class GuardedBytes {
 public:
  GuardedBytes(std::size_t bytes, Edge edge) {
    const std::size_t page = page_bytes(), body = (bytes + page - 1) / page * page;
    reserved_ = body + 2 * page;
    base_ = reserve(reserved_);
    if (base_ == nullptr) throw std::bad_alloc();
    char* first = static_cast<char*>(base_) + page;
    if (body != 0 && !open_pages(first, body)) throw std::bad_alloc();
    data_ = edge == Edge::kEnd ? first + body - bytes : first;
  }
  ~GuardedBytes() { release(base_, reserved_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  void* data() const { return data_; }

 private:
  void* base_;
  std::size_t reserved_;
  void* data_;
};

template <class T>
class Guarded {
 public:
  explicit Guarded(std::int64_t count, Edge edge = Edge::kEnd)
      : bytes_(static_cast<std::size_t>(count) * sizeof(T), edge), count_(count) {}
  T* data() { return static_cast<T*>(bytes_.data()); }
  T& operator[](std::int64_t i) { return data()[i]; }
  std::int64_t size() const { return count_; }
  void fill(T value) {
    for (std::int64_t i = 0; i < count_; ++i) data()[i] = value;
  }

 private:
  GuardedBytes bytes_;
  std::int64_t count_;
};

}  // namespace octavo_test
