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
#include <vector>

#include "ops/attention.h"
#include "ops/linear.h"

namespace octavo {

class Program {
 public:
  using Value = std::int64_t;
  static constexpr Value kNone = -1;
  static constexpr Value kInput = 0;

  struct Norm {
    const float* weight;  // null: 1
    const float* bias;    // null: 0
    float eps;
  };
  struct Attention {
    std::int64_t heads;
    float scale;
    bool int8;
    bool biased;  // by the bias of the call
  };

  // For an input of so many columns.
  explicit Program(std::int64_t width);

  // Each adds a step, and returns the value it makes. They throw std::invalid_argument for values
  // that are not there, or not as wide as the step wants, and leave the program as it was. What is
  // pointed to outlives the program. Threads that add take turns.
  Value add_linear(std::shared_ptr<const LinearLayer> layer, Value x, Value addend, Value residual);
  Value add_layer_norm(const Norm& norm, std::int64_t n, Value x, Value residual);
  Value add_attention(const Attention& attention, Value q, Value k, Value v);
  // The value that is the result; no step follows.
  void finish(Value result);

  // 0 before finish(); then all below may be called from many threads.
  std::int64_t output_width() const;
  std::int64_t input_width() const { return values_.front().width; }
  // Heads of attention with a bias; 0: none has one.
  std::int64_t biased_heads() const { return biased_heads_; }

  // Rows [offsets[s], offsets[s + 1]) of x are sequence s of `count`; x and out are contiguous, and
  // apart. bias: as for attention(), with as many rows as the longest sequence or more.
  void run(const std::int64_t* offsets, std::int64_t count, const ScoreBias& bias, const float* x,
           float* out) const;

 private:
  enum class Kind { kLinear, kNorm, kAttention };
  enum class Where { kInput, kResult, kSlice, kBlock };

  struct Step {
    Kind kind;
    Value x, addend, residual;  // of attention: q, k, v
    Value out = kNone;
    std::shared_ptr<const LinearLayer> layer = nullptr;
    Norm norm = {};
    Attention attention = {};
    std::int64_t together = 1;  // steps from here on that run as one; 0: with one before
  };
  struct ValueInfo {
    std::int64_t width;
    std::int64_t made_by, last_use;  // steps; the input is made before the first
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
  void expect_no_result() const;
  void find_stretches();
  void find_linears_together();
  std::int64_t place_values(Where where);

  mutable std::mutex mutex_;  // of what changes until there is a result
  std::vector<Step> steps_;
  std::vector<ValueInfo> values_;
  std::vector<Stretch> stretches_;
  Value result_ = kNone;
  std::int64_t slice_columns_ = 0, block_columns_ = 0, biased_heads_ = 0;
  std::int64_t row_work_ = 0, weight_bytes_ = 0;  // of linear layers: multiply-adds of a row
};

}  // namespace octavo
