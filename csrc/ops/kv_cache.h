// SPDX-License-Identifier: Apache-2.0
// Keys and values of one sequence as codes, in all layers, for the tokens that come after: written
// once in the layout that attention_block reads. docs/numerics.md has the definition of codes and
// attention, python/octavo/_numpy/cache.py the reference.
#pragma once
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "memory/aligned_buffer.h"
#include "ops/attention_rows.h"
#include "ops/linear.h"

namespace octavo {

constexpr std::int64_t kMostParts = 1 << 16;  // layers, heads
constexpr std::int64_t kMostTokens = std::numeric_limits<std::int32_t>::max() - kKeysPerBlock;
constexpr std::int64_t kNoWindow = kMostTokens + kKeysPerBlock;

// The codes of one head of some tokens, and their scales; canonical, the same on every tier.
struct HeadCodes {
  std::int8_t* keys;  // rows of d, row_stride apart
  std::int8_t* values;
  float* key_scale;  // scale_stride apart
  float* value_scale;
  std::int64_t row_stride, scale_stride;
};

// Who holds it has a cache for itself. Nobody waits for it; unlike a mutex's, its own thread may
// try again, and is refused.
class SoleUse {
 public:
  bool try_lock() { return !taken_.test_and_set(std::memory_order_acquire); }
  void unlock() { taken_.clear(std::memory_order_release); }

 private:
  std::atomic_flag taken_ = ATOMIC_FLAG_INIT;
};

class KvCache {
 public:
  KvCache(std::int64_t layers, std::int64_t kv_heads, std::int64_t d);
  // The same tokens, to be continued apart: the two share blocks until one writes to them.
  KvCache(const KvCache& other);
  KvCache& operator=(const KvCache&) = delete;

  std::int64_t layers() const { return static_cast<std::int64_t>(layers_.size()); }
  std::int64_t kv_heads() const { return kv_heads_; }
  std::int64_t d() const { return d_; }
  IsaMask isas() const { return isas_; }

  // Who reads, changes or copies a cache holds this.
  SoleUse& sole_use() const { return sole_use_; }

  std::int64_t length(std::int64_t layer) const { return layers_[layer].length; }
  std::int64_t nbytes() const;
  // Keeps rows of kv_heads * d behind those of before. Interrupted or throwing, it keeps none.
  void append(std::int64_t layer, Rows<const float> k, Rows<const float> v, std::int64_t count);
  void truncate(std::int64_t tokens);
  // Reads the codes of all tokens of a layer and head, or puts `count` behind those of before,
  // or none and throws.
  void read(std::int64_t layer, std::int64_t head, const HeadCodes& out) const;
  void restore(std::int64_t layer, const HeadCodes* heads, std::int64_t count);

 private:
  friend class CachedHead;

  // Places for tokens, at most kKeysPerBlock, of all heads of a layer.
  struct Block {
    std::int64_t capacity;
    AlignedBuffer memory;
    bool is_shared = false;  // from the first copy on: nobody writes to it any more
  };
  struct Layer {
    std::int64_t length = 0;
    std::vector<std::shared_ptr<Block>> blocks;

    void drop_empty_blocks() {
      blocks.resize(static_cast<std::size_t>(ceil_div(length, kKeysPerBlock)));
    }
  };
  // What a call that throws has added is dropped; `length` is set where nothing can throw any more.
  struct Growth {
    Layer& layer;
    ~Growth() { layer.drop_empty_blocks(); }
  };
  // One head in a block, or in scratch.
  struct Part {
    std::int32_t* keys;
    std::int32_t* values;
    float* key_scale;
    float* value_scale;
    std::int32_t* key_start;
    std::int64_t value_stride;
  };

  std::int64_t part_bytes(std::int64_t capacity) const;
  Part part_at(std::uint8_t* memory, std::int64_t capacity) const;
  Part part(const Block& block, std::int64_t head) const;
  std::shared_ptr<Block> make_block(std::int64_t capacity) const;
  void copy_block(const Block& from, const Block& to) const;
  const Block& writable(Layer& layer, std::int64_t row, std::int64_t end) const;

  char* key_slot(const Part& of, std::int64_t row, std::int64_t column) const;
  char* value_slot(const Part& of, std::int64_t row, std::int64_t column) const;
  std::int8_t code_at(const char* slot) const;
  void put_code(char* slot, std::int8_t code) const;
  void quantize(AttentionOperand operand, const float* x, std::int64_t stride, std::int64_t count,
                const Part& to, std::int64_t row) const;
  void put_rows(const Part& to, std::int64_t row, Rows<const float> k, Rows<const float> v,
                std::int64_t count, const Part& panel) const;
  void put_row(const Part& to, std::int64_t row, const float* k, const float* v,
               const Part& panel) const;

  std::int64_t kv_heads_, d_, d_pad_;
  std::int64_t key_stride_;  // groups of a panel
  std::int64_t code_bytes_;  // of a code in a group
  IsaMask isas_;
  const KernelRow<AttentionCodesArgs>& quantize_;
  std::vector<Layer> layers_;
  mutable SoleUse sole_use_;
};

// A call of attention to caches.
struct CachedQueries {
  const float* q;  // rows of heads * d
  std::int64_t stride;
  // Rows [offsets[s], offsets[s + 1]) are the newest tokens of caches[s], which holds them already.
  const std::int64_t* offsets;
  const KvCache* const* caches;  // of one tier, and one shape
  std::int64_t count;            // of caches
  std::int64_t layer, heads;
  std::int64_t window;  // how many keys up to its own a query sees
};

// Attention of the newest tokens of sequences to all before them and themselves; out (rows, heads *
// d), contiguous. The caller holds sole_use() of all caches.
void attention_cached(const CachedQueries& call, float scale, float* out);

}  // namespace octavo
