// SPDX-License-Identifier: Apache-2.0
#include "ops/program.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "ops/attention_s8.h"

namespace octavo {
namespace {

constexpr std::int64_t kAlign = 16;  // columns, so that rows of blocks begin at 64 bytes

}  // namespace

Program::Program(std::int64_t width) {
  if (width < 1) throw std::invalid_argument("width: expected at least 1");
  values_.push_back({width, -1, -1});
}

// 0 for what is no value.
std::int64_t Program::width_of(Value value) const {
  return value >= 0 && value < static_cast<Value>(values_.size()) ? values_[value].width : 0;
}

std::int64_t Program::output_width() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return width_of(result_);
}

void Program::expect_width(Value value, std::int64_t width, const char* expected) const {
  if (width == 0 || width_of(value) != width) throw std::invalid_argument(expected);
}

void Program::expect_no_result() const {
  if (result_ != kNone) throw std::invalid_argument("self: expected no result yet");
}

Program::Value Program::add(Step step, std::int64_t width) {
  const auto made = static_cast<Value>(values_.size());
  const auto index = static_cast<std::int64_t>(steps_.size());
  step.out = made;
  values_.push_back({width, index, index});
  for (const Value read : {step.x, step.addend, step.residual}) {
    if (read != kNone) values_[read].last_use = index;
  }
  steps_.push_back(std::move(step));
  return made;
}

Program::Value Program::add_linear(std::shared_ptr<const LinearLayer> layer, Value x, Value addend,
                                   Value residual) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  const std::int64_t n = layer->n();
  const Linear* coded = dynamic_cast<const Linear*>(layer.get());
  if (coded != nullptr && coded->options().output_scale) {
    throw std::invalid_argument("layer: expected one with float32 outputs");
  }
  expect_width(x, layer->k(), "x: expected a value with as many columns as the layer has inputs");
  for (const Value added : {addend, residual}) {
    if (added != kNone) {
      expect_width(added, n, "residual: expected a value as wide as the layer's output");
    }
  }
  row_work_ = checked_add(row_work_, checked_mul(n, layer->k()));
  weight_bytes_ = checked_add(weight_bytes_, static_cast<std::int64_t>(layer->nbytes()));
  return add({Kind::kLinear, x, addend, residual, kNone, std::move(layer)}, n);
}

Program::Value Program::add_layer_norm(const Norm& norm, std::int64_t n, Value x, Value residual) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  expect_width(x, n, "x: expected a value as wide as the weight");
  if (residual != kNone) {
    expect_width(residual, n, "residual: expected a value as wide as the weight");
  }
  return add({Kind::kNorm, x, kNone, residual, kNone, nullptr, norm}, n);
}

Program::Value Program::add_attention(const Attention& attention, Value q, Value k, Value v) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  const std::int64_t width = width_of(q);
  expect_width(q, width, "q: expected a value");
  expect_width(k, width, "k: expected a value as wide as q");
  expect_width(v, width, "v: expected a value as wide as q");
  if (attention.heads < 1 || width % attention.heads != 0) {
    throw std::invalid_argument("heads: expected a divisor of the width");
  }
  if (attention.int8 && width / attention.heads > kLargestHead) {
    throw std::invalid_argument("heads: expected at most " + std::to_string(kLargestHead) +
                                " values in each");
  }
  if (attention.biased) {
    if (biased_heads_ != 0 && biased_heads_ != attention.heads) {
      throw std::invalid_argument("heads: expected as many as the other biased steps have");
    }
    biased_heads_ = attention.heads;
  }
  return add({Kind::kAttention, q, k, v, kNone, nullptr, {}, attention}, width);
}

void Program::finish(Value result) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  if (result <= kInput || result >= static_cast<Value>(values_.size())) {
    throw std::invalid_argument("result: expected a value that a step makes");
  }
  find_stretches();
  find_linears_together();
  const auto stretch_of = [&](std::int64_t step) {
    return std::find_if(stretches_.begin(), stretches_.end(),
                        [&](const Stretch& one) { return step < one.end; });
  };
  for (ValueInfo& value : values_) {
    if (value.made_by < 0) continue;
    const bool by_rows = steps_[value.made_by].kind != Kind::kAttention;
    const bool stays = stretch_of(value.made_by) == stretch_of(value.last_use);
    value.where = by_rows && stays ? Where::kBlock : Where::kSlice;
  }
  values_[kInput].where = Where::kInput;
  values_[result].where = Where::kResult;
  slice_columns_ = place_values(Where::kSlice);
  block_columns_ = place_values(Where::kBlock);
  result_ = result;  // last: what throws leaves none
}

void Program::find_stretches() {
  stretches_.clear();
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(steps_.size()); ++i) {
    const bool alone = steps_[i].kind == Kind::kAttention;
    const bool joins = !alone && i > 0 && steps_[i - 1].kind != Kind::kAttention;
    if (joins) {
      stretches_.back().end = i + 1;
    } else {
      stretches_.push_back({i, i + 1});
    }
  }
}

void Program::find_linears_together() {
  const auto coded = [](const Step& step) { return dynamic_cast<const Linear*>(step.layer.get()); };
  for (std::size_t i = 0; i < steps_.size();) {
    Step& first = steps_[i];
    const Linear* const layer = coded(first);
    std::size_t j = i + 1;
    for (; layer != nullptr && j < steps_.size() && j - i < kMostLinears; ++j) {
      const Step& next = steps_[j];
      const Linear* const other = coded(next);
      const bool reads_same = other != nullptr && next.x == first.x && next.addend < first.out &&
                              next.residual < first.out;
      if (!reads_same || !layer->reads_like(*other)) break;
    }
    first.together = static_cast<std::int64_t>(j - i);
    while (++i < j) steps_[i].together = 0;
  }
}

// Gives the values of a kind their columns; returns how many there are. Columns that nobody reads
// any more are used again by values as wide, of which each row takes the place of the same row:
// that is safe also while blocks of rows are at different steps.
std::int64_t Program::place_values(Where where) {
  struct Slot {
    std::int64_t at, width, free_from;  // steps
  };
  std::vector<Slot> slots;
  std::int64_t columns = 0;
  for (ValueInfo& value : values_) {
    if (value.where != where) continue;
    // Layers that run together write before the last of them has read.
    std::int64_t made = value.made_by;
    while (steps_[made].together == 0) --made;
    auto slot = std::find_if(slots.begin(), slots.end(), [&](const Slot& one) {
      return one.width == value.width && one.free_from <= made;
    });
    if (slot == slots.end()) {
      slot = slots.insert(slot, {columns, value.width, 0});
      columns = checked_add(columns, round_up(value.width, kAlign));
    }
    slot->free_from = value.last_use + 1;
    value.at = slot->at;
  }
  return columns;
}

}  // namespace octavo
