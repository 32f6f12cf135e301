// SPDX-License-Identifier: Apache-2.0
// What is decided once all steps are there: which run together, and where values lie.
#include <algorithm>
#include <stdexcept>

#include "ops/program.h"

namespace octavo {
namespace {

constexpr std::int64_t kAlign = 16;  // columns, so that rows of blocks begin at 64 bytes

}  // namespace

void Program::finish(Value result) {
  const std::lock_guard<std::mutex> guard(mutex_);
  expect_no_result();
  if (width_of(result) == 0 || values_[result].made_by < 0) {
    throw std::invalid_argument("result: expected a value that a step makes");
  }
  find_stretches();
  find_linears_together();
  find_places(result);
  result_ = result;  // last: what throws leaves none
}

void Program::find_stretches() {
  stretches_.clear();
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(steps_.size()); ++i) {
    const bool joins = i > 0 && steps_[i].by_rows() && steps_[i - 1].by_rows();
    if (joins) {
      stretches_.back().end = i + 1;
    } else {
      stretches_.push_back({i, i + 1});
    }
  }
}

void Program::find_linears_together() {
  const auto coded = [](const Step& step) { return dynamic_cast<const Linear*>(step.layer()); };
  for (std::size_t i = 0; i < steps_.size();) {
    Step& first = steps_[i];
    const Linear* const layer = coded(first);
    std::size_t j = i + 1;
    for (; layer != nullptr && j < steps_.size() && j - i < kMostLinears; ++j) {
      const Step& next = steps_[j];
      const Linear* const other = coded(next);
      const bool reads_same = other != nullptr && next.x == first.x && next.second < first.out &&
                              next.third < first.out;
      if (!reads_same || !layer->reads_like(*other)) break;
    }
    first.together = static_cast<std::int64_t>(j - i);
    while (++i < j) steps_[i].together = 0;
  }
}

void Program::find_places(Value result) {
  const auto stretch_of = [&](std::int64_t step) {
    return std::find_if(stretches_.begin(), stretches_.end(),
                        [&](const Stretch& one) { return step < one.end; });
  };
  for (ValueInfo& value : values_) {
    if (value.made_by < 0) continue;
    const bool stays = stretch_of(value.made_by) == stretch_of(value.last_use);
    value.where = steps_[value.made_by].by_rows() && stays ? Where::kBlock : Where::kSlice;
  }
  values_[kInput].where = Where::kInput;
  values_[result].where = Where::kResult;
  slice_columns_ = place_values(Where::kSlice);
  block_columns_ = place_values(Where::kBlock);
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
    if (value.where != where || value.made_by < 0) continue;
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
