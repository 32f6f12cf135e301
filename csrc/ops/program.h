// SPDX-License-Identifier: Apache-2.0
// Layers of a model as one call. A step makes a value, rows of float32, of values before it; all
// steps but attention work row by row. Steps between two attentions run block by block of rows, so
// that what one writes is in L1 or L2 when the next reads it; neighbouring linear layers that read
// the same value quantize it once. Sequences come in slices, each of which runs through all steps
// on one thread where there are slices enough. The bits are those of the steps called one by one.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "ops/attention.h"
#include "ops/float_rows.h"
#include "ops/kv_cache.h"
#include "ops/linear.h"

namespace octavo {

class Program {
 public:
  using Value = std::int64_t;
  static constexpr Value kNone = -1;
  static constexpr Value kInput = 0;

  struct LayerNorm {
    const float* weight;  // null: 1
    const float* bias;    // null: 0
    float eps;
  };
  struct RmsNorm {
    const float* weight;
    std::int64_t n;  // columns that are one row of the norm: all, or those of a head
    float eps;
  };
  struct Rotary {
    std::int64_t heads;
    std::int64_t table;  // which of the call's
  };
  struct Attention {
    std::int64_t heads;
    float scale;
    bool int8;
    bool biased;  // by the bias of the call
  };
  // Keeps keys and values of new rows in a layer of each sequence's cache, and attends to all.
  struct CachedAttention {
    std::int64_t layer, heads, kv_heads;
    std::int64_t window;  // how many keys up to its own a query sees
    float scale;
  };

  // What a call is given beside x, and must have for the steps that read it.
  struct Arguments {
    // Rows [offsets[s], offsets[s + 1]) of x are sequence s of `count`.
    const std::int64_t* offsets;
    std::int64_t count;
    // As for attention(), with as many rows as the longest sequence or more.
    ScoreBias bias = {nullptr, 0, 0};
    const std::int64_t* positions = nullptr;  // of each row, its row of the tables
    const RotaryTable* tables = nullptr;
    KvCache* const* caches = nullptr;  // of each sequence; the caller holds their sole_use()
  };
  struct Needs {
    std::int64_t biased_heads = 0;          // 0: no bias
    std::vector<std::int64_t> table_heads;  // of each table, the narrowest head that is turned
    std::int64_t layers = 0;                // of caches; 0: none
    std::int64_t kv_heads = 0, head_size = 0;
  };

  // For an input of so many columns.
  explicit Program(std::int64_t width);

  // Each adds a step, and returns the value it makes. They throw std::invalid_argument for values
  // that are not there, or not as wide as the step wants, and leave the program as it was. What is
  // pointed to outlives the program. Threads that add take turns.
  Value add_linear(std::shared_ptr<const LinearLayer> layer, Value x, Value addend, Value residual);
  Value add_layer_norm(const LayerNorm& norm, std::int64_t n, Value x, Value residual);
  Value add_rms_norm(const RmsNorm& norm, Value x, Value addend);
  Value add_rotary(const Rotary& rotary, Value x);
  Value add_gated(Activation activation, Value gate, Value x);
  Value add_attention(const Attention& attention, Value q, Value k, Value v);
  Value add_cached_attention(const CachedAttention& attention, Value q, Value k, Value v);
  // Columns [begin, end) of a value, not copied.
  Value add_columns(Value x, std::int64_t begin, std::int64_t end);
  // The value that is the result, which a step makes; no step follows.
  void finish(Value result);

  // 0 before finish(); then all below may be called from many threads.
  std::int64_t output_width() const;
  std::int64_t input_width() const { return values_.front().width; }
  const Needs& needs() const { return needs_; }

  // x and out are contiguous, and apart. Interrupted or throwing, it leaves more tokens in some
  // layers of caches than in others.
  void run(const Arguments& arguments, const float* x, float* out) const;

 private:
  enum class Where { kInput, kResult, kSlice, kBlock };
  using Layer = std::shared_ptr<const LinearLayer>;

  struct Step {
    std::variant<Layer, LayerNorm, RmsNorm, Rotary, Activation, Attention, CachedAttention> work;
    Value x, second, third;  // q, k, v; gate, x; or x, what is added before, and after
    Value out = kNone;
    std::int64_t together = 1;  // linear steps from here on that run as one; 0: with one before

    // Null for other steps.
    const LinearLayer* layer() const {
      const Layer* held = std::get_if<Layer>(&work);
      return held == nullptr ? nullptr : held->get();
    }
    bool by_rows() const {
      return !std::holds_alternative<Attention>(work) &&
             !std::holds_alternative<CachedAttention>(work);
    }
  };
  struct ValueInfo {
    std::int64_t width;
    std::int64_t made_by, last_use;  // steps; the input is made before the first
    Value whole = kNone;             // of columns: the value that has them
    std::int64_t first_column = 0;   // of columns
    Where where = Where::kSlice;
    std::int64_t at = 0;  // columns of others before it, in memory of a slice or a block
  };
  // Steps [begin, end) that work row by row, or one attention.
  struct Stretch {
    std::int64_t begin, end;
  };
  class Call;

  Value add(Step step, std::int64_t width);
  std::int64_t width_of(Value value) const;
  void expect_width(Value value, std::int64_t width, const char* expected) const;
  void expect_added(Value value, std::int64_t width) const;
  void expect_no_result() const;
  void find_stretches();
  void find_linears_together();
  void find_places(Value result);
  std::int64_t place_values(Where where);

  mutable std::mutex mutex_;  // of what changes until there is a result
  std::vector<Step> steps_;
  std::vector<ValueInfo> values_;
  std::vector<Stretch> stretches_;
  Value result_ = kNone;
  Needs needs_;
  std::int64_t slice_columns_ = 0, block_columns_ = 0;
  std::int64_t row_work_ = 0, weight_bytes_ = 0;  // of linear layers: multiply-adds of a row
};

}  // namespace octavo
