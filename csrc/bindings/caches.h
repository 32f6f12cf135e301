// SPDX-License-Identifier: Apache-2.0
// Caches of keys and values as arguments of a call.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/views.h"
#include "ops/kv_cache.h"

namespace octavo {

// A cache serves one call at a time: a second one is refused, not kept waiting for what may be its
// own thread.
class InUse {
 public:
  explicit InUse(const KvCache& cache, const char* name = "self")
      : lock_(cache.sole_use(), std::try_to_lock) {
    if (lock_.owns_lock()) return;
    throw std::runtime_error(std::string(name) + ": another call uses this cache");
  }

 private:
  std::unique_lock<SoleUse> lock_;
};

// The caches of a call, which its caller keeps alive; none of them twice.
struct Caches {
  std::vector<KvCache*> list;
  std::vector<InUse> uses;

  explicit Caches(const std::vector<std::shared_ptr<KvCache>>& given) {
    for (const auto& cache : given) {
      if (cache == nullptr) bad_argument("caches", "no None");
      list.push_back(cache.get());
    }
  }
  void take() {
    for (const KvCache* cache : list) uses.emplace_back(*cache, "caches");
  }
  // Once they are taken.
  void check_alike() const {
    for (const KvCache* cache : list) {
      const KvCache& any = *list[0];
      if (cache->d() != any.d() || cache->kv_heads() != any.kv_heads() ||
          cache->layers() != any.layers() || cache->isas() != any.isas()) {
        bad_argument("caches", "caches of one shape, made with one tier");
      }
    }
  }
};

inline void check_room(std::int64_t held, std::int64_t more, const char* name) {
  if (more > kMostTokens - held) bad_argument(name, "fewer tokens");
}

}  // namespace octavo
