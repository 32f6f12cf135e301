// SPDX-License-Identifier: Apache-2.0
// Arrays between inaccessible pages: a kernel that reads or writes past an end crashes the test.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#define OCTAVO_TEST_GUARD_PAGES 1
#endif

namespace octavo_test {

// Which end of the array touches an inaccessible page.
enum class Edge { kEnd, kFront };

#if OCTAVO_TEST_GUARD_PAGES

class GuardedBytes {
 public:
  GuardedBytes(std::size_t bytes, Edge edge) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t body = (bytes + page - 1) / page * page;
    mapped_ = body + 2 * page;
    base_ = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    char* first = static_cast<char*>(base_) + page;
    if (body != 0 && mprotect(first, body, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    data_ = edge == Edge::kEnd ? first + body - bytes : first;
  }
  ~GuardedBytes() { munmap(base_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  void* data() const { return data_; }

 private:
  void* base_;
  std::size_t mapped_;
  void* data_;
};

#else

class GuardedBytes {
 public:
  GuardedBytes(std::size_t bytes, Edge) : bytes_(bytes) {}
  void* data() { return bytes_.data(); }

 private:
  std::vector<std::uint64_t> bytes_;  // aligned for every element type; more than enough of them
};

#endif

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
