// SPDX-License-Identifier: Apache-2.0
#include "memory/result_cache.h"

#include <atomic>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace octavo {
namespace {

// Eight classes between a power of two and the next: at most an eighth of a buffer stays unused.
std::size_t size_class(std::size_t bytes) noexcept {
  std::size_t step = kSmallestKept / 8;
  while (bytes / 16 >= step) step *= 2;
  return (bytes + step - 1) / step * step;
}

class Cache {
 public:
  Cache() {
    kept_.reserve(kMostKeptBuffers);
#if defined(__unix__) || defined(__APPLE__)
    // A child finds the mutex free and the buffers whole; both write to copies of their pages.
    pthread_atfork([] { the().mutex_.lock(); }, [] { the().mutex_.unlock(); },
                   [] { the().mutex_.unlock(); });
#endif
  }

  // Never destroyed: arrays may outlive all other things of the process.
  static Cache& the() {
    static Cache& cache = *new Cache;
    return cache;
  }

  AlignedBuffer take(std::size_t bytes) {
    const std::size_t size = size_class(bytes);
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      for (auto it = kept_.rbegin(); it != kept_.rend(); ++it) {
        if (it->size() == size) return remove(std::prev(it.base()));
      }
    }
    return AlignedBuffer(size);
  }

  void keep(AlignedBuffer buffer) noexcept {
    for (;;) {
      AlignedBuffer oldest;  // goes back to the system after the mutex is free
      const std::lock_guard<std::mutex> guard(mutex_);
      if (buffer.size() > limit()) return;
      if (kept_.size() < kMostKeptBuffers && bytes_ + buffer.size() <= limit()) {
        bytes_ += buffer.size();
        kept_.push_back(std::move(buffer));
        return;
      }
      oldest = remove(kept_.begin());
    }
  }

  void limit(std::size_t bytes) noexcept {
    limit_.store(bytes);
    for (;;) {
      AlignedBuffer oldest;
      const std::lock_guard<std::mutex> guard(mutex_);
      if (bytes_ <= limit()) return;
      oldest = remove(kept_.begin());
    }
  }

  std::size_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }

  ResultCache state() noexcept {
    const std::lock_guard<std::mutex> guard(mutex_);
    return {limit(), bytes_, kept_.size()};
  }

 private:
  AlignedBuffer remove(std::vector<AlignedBuffer>::iterator at) noexcept {
    AlignedBuffer buffer = std::move(*at);
    kept_.erase(at);
    bytes_ -= buffer.size();
    return buffer;
  }

  std::mutex mutex_;
  std::vector<AlignedBuffer> kept_;  // oldest first
  std::size_t bytes_ = 0;
  std::atomic<std::size_t> limit_{kMostKeptBytes};
};

}  // namespace

bool is_kept_size(std::size_t bytes) noexcept {
  if (bytes < kSmallestKept) return false;
  const std::size_t limit = Cache::the().limit();
  return bytes <= limit && size_class(bytes) <= limit;
}

AlignedBuffer take_result(std::size_t bytes) { return Cache::the().take(bytes); }

void keep_result(AlignedBuffer buffer) noexcept { Cache::the().keep(std::move(buffer)); }

ResultCache result_cache() noexcept { return Cache::the().state(); }

void limit_result_cache(std::size_t bytes) noexcept { Cache::the().limit(bytes); }

}  // namespace octavo
