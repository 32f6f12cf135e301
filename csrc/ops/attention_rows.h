// SPDX-License-Identifier: Apache-2.0
// Rows of queries against the keys and values of one head, in int8: what attention to packed
// sequences and to caches have in common.
#pragma once
#include <algorithm>
#include <cstdint>

#include "dispatch/registry.h"
#include "ops/attention.h"
#include "ops/scratch.h"

namespace octavo {

constexpr std::int64_t kKeysPerBlock = kMostKeys;

// The kernels of one tier: its codes mean something else to another's.
struct AttentionKernels {
  const KernelRow<AttentionCodesArgs>* quantize;
  const KernelRow<AttentionBlockArgs>* attend;
  const KernelRow<AttentionSumArgs>* sum;

  explicit AttentionKernels(IsaMask isas);
};

// The keys and values of one head in codes.
class CodedHead {
 public:
  CodedHead(std::int64_t n, std::int64_t d) : n_(n), d_(d) {}

  std::int64_t n() const { return n_; }
  std::int64_t d() const { return d_; }
  std::int64_t blocks() const { return ceil_div(n_, kKeysPerBlock); }
  std::int64_t keys_of(std::int64_t block) const {
    return std::min(kKeysPerBlock, n_ - block * kKeysPerBlock);
  }
  // How many keys are there of the first j of the sequence.
  virtual std::int64_t place(std::int64_t j) const = 0;
  // Which key of the sequence is key j of a block.
  virtual std::int64_t key_at(std::int64_t block, std::int64_t j) const = 0;
  // Writes what an attention_block kernel wants to know of a block. A key or value with a NaN or an
  // infinity has a scale of NaN as a key and of 0 as a value: NaN reaches all that see it.
  virtual void describe(std::int64_t block, AttentionBlockArgs& args) const = 0;

 protected:
  ~CodedHead() = default;
  std::int64_t n_, d_;
};

// The queries of each of `pairs` heads of keys as tasks on threads.
struct QuerySplit {
  int threads;
  std::int64_t parts, part_queries;  // of each pair

  QuerySplit(int most, std::int64_t pairs, std::int64_t queries);
};

// How many rows meet a head at a time, and the memory that takes. A row is a query and one of
// `group` heads that share the keys, the heads of a query side by side.
struct RowPlan {
  AttentionKernels kernels;
  std::int64_t group;
  std::int64_t unit;              // queries that may be shared with threads without a task
  std::int64_t rows, row_places;  // at a time; rounded up to whole panels
  std::int64_t blocks, d_pad, q_stride;
  std::int64_t row_list_at, q_at, factor_at, sums_at, stats_at, seen_at;
  std::int64_t block_at, block_bytes;  // what a block of keys needs: of that, the rest
  std::int64_t work_at, keys_at, bias_at;

  // For at most so many queries and keys.
  RowPlan(IsaMask isas, std::int64_t group, std::int64_t queries, std::int64_t keys, std::int64_t d,
          bool has_bias, ScratchLayout& memory);
};

class RowBlock {
 public:
  RowBlock(const RowPlan& plan, const CodedHead& head, std::uint8_t* memory);

  // All pointers: the first head of the first query. key_ranges: a pair for each query, or null.
  void run(const float* q, std::int64_t q_stride, std::int64_t queries,
           const std::int64_t* key_ranges, const ScoreBias& bias, float scale, float* out,
           std::int64_t out_stride);

 private:
  void read_queries(const float* q, std::int64_t q_stride, float scale);
  void read_visible(const std::int64_t* key_ranges);
  void read_seen(std::int64_t b, std::int32_t* first, std::int32_t* last) const;
  void read_bias(std::int64_t b, const ScoreBias& bias, float* biases) const;
  void attend(std::int64_t b, bool has_ranges, const ScoreBias& bias, std::uint8_t* memory) const;
  void write(std::int64_t queries, float* out, std::int64_t out_stride) const;

  const RowPlan& plan_;
  const CodedHead& head_;
  std::int64_t* row_list_;  // where rows begin if heads share keys
  std::int32_t* codes_;
  float* factor_;  // the scales of q at first
  std::int32_t* sums_;
  float* stats_;  // top, sum and largest of all blocks
  std::int32_t* seen_;
  std::uint8_t* block_memory_;
  std::int64_t rows_ = 0, row_places_ = 0;
};

}  // namespace octavo
