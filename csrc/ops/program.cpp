// SPDX-License-Identifier: Apache-2.0
#include "ops/program.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "ops/attention_s8.h"

namespace octavo {

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

// What is added to what a step makes, if anything is.
void Program::expect_added(Value value, std::int64_t width) const {
  if (value == kNone) return;
  expect_width(value, width, "residual: expected a value as wide as the step's output");
}

void Program::expect_no_result() const {
  if (result_ != kNone) throw std::invalid_argument("self: expected no result yet");
}

Program::Value Program::add(Step step, std::int64_t width) {
  const auto made = static_cast<Value>(values_.size());
  const auto index = static_cast<std::int64_t>(steps_.size());
  step.out = made;
  values_.push_back({width, index, index});
  for (const Value read : {step.x, step.second, step.third}) {
    if (read == kNone) continue;
    const Value whole = values_[read].whole;
    values_[whole == kNone ? read : whole].last_use = index;
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
  expect_added(addend, n);
  expect_added(residual, n);
  row_work_ = checked_add(row_work_, checked_mul(n, layer->k()));
  weight_bytes_ = checked_add(weight_bytes_, static_cast<std::int64_t>(layer->nbytes()));
  return add({std::move(layer), x, addend, residual}, n);
}

Program::Value Program::add_layer_norm(const LayerNorm& norm, std::int64_t n, Value x,
                                       Value residual) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  expect_width(x, n, "x: expected a value as wide as the weight");
  expect_added(residual, n);
  return add({norm, x, kNone, residual}, n);
}

Program::Value Program::add_rms_norm(const RmsNorm& norm, Value x, Value addend) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  const std::int64_t width = width_of(x);
  if (norm.n < 1 || width == 0 || width % norm.n != 0) {
    throw std::invalid_argument("x: expected a value as wide as the weight, or a multiple");
  }
  expect_added(addend, width);
  return add({norm, x, kNone, addend}, width);
}

Program::Value Program::add_rotary(const Rotary& rotary, Value x) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  const std::int64_t width = width_of(x);
  expect_width(x, width, "x: expected a value");
  if (rotary.heads < 1 || width % rotary.heads != 0) {
    throw std::invalid_argument("heads: expected a divisor of the width");
  }
  std::vector<std::int64_t>& heads = needs_.table_heads;
  const auto tables = static_cast<std::int64_t>(heads.size());
  if (rotary.table < 0 || rotary.table > tables) {
    throw std::invalid_argument("table: expected one of those before, or the next");
  }
  const std::int64_t head = width / rotary.heads;
  if (rotary.table == tables) heads.push_back(head);
  heads[rotary.table] = std::min(heads[rotary.table], head);
  return add({rotary, x, kNone, kNone}, width);
}

Program::Value Program::add_gated(Activation activation, Value gate, Value x) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  const std::int64_t width = width_of(gate);
  expect_width(gate, width, "gate: expected a value");
  expect_width(x, width, "x: expected a value as wide as the gate");
  return add({activation, gate, x, kNone}, width);
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
    if (needs_.biased_heads != 0 && needs_.biased_heads != attention.heads) {
      throw std::invalid_argument("heads: expected as many as the other biased steps have");
    }
    needs_.biased_heads = attention.heads;
  }
  return add({attention, q, k, v}, width);
}

Program::Value Program::add_cached_attention(const CachedAttention& attention, Value q, Value k,
                                             Value v) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  const std::int64_t width = width_of(q), heads = attention.heads, kv_heads = attention.kv_heads;
  expect_width(q, width, "q: expected a value");
  if (heads < 1 || width % heads != 0 || width / heads > kLargestHead) {
    throw std::invalid_argument("heads: expected a divisor of the width, and at most " +
                                std::to_string(kLargestHead) + " values in each");
  }
  if (kv_heads < 1 || heads % kv_heads != 0) {
    throw std::invalid_argument("kv_heads: expected a divisor of heads");
  }
  const std::int64_t head_size = width / heads;
  expect_width(k, kv_heads * head_size, "k: expected a value of kv_heads heads as wide as q's");
  expect_width(v, kv_heads * head_size, "v: expected a value as wide as k");
  if (attention.layer < 0 || attention.layer >= kMostParts) {
    throw std::invalid_argument("layer: expected 0 to 65535");
  }
  if (needs_.layers != 0 && (needs_.kv_heads != kv_heads || needs_.head_size != head_size)) {
    throw std::invalid_argument("kv_heads: expected the heads of the other steps with caches");
  }
  needs_.layers = std::max(needs_.layers, attention.layer + 1);
  needs_.kv_heads = kv_heads;
  needs_.head_size = head_size;
  return add({attention, q, k, v}, width);
}

Program::Value Program::add_columns(Value x, std::int64_t begin, std::int64_t end) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  if (begin < 0 || begin >= end || end > width_of(x)) {
    throw std::invalid_argument("columns: expected some that the value has");
  }
  ValueInfo made = {end - begin, -1, -1};
  made.whole = values_[x].whole == kNone ? x : values_[x].whole;
  made.first_column = values_[x].first_column + begin;
  values_.push_back(made);
  return static_cast<Value>(values_.size()) - 1;
}

}  // namespace octavo
