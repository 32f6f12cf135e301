// SPDX-License-Identifier: Apache-2.0
#include "layout/packed_slots.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "layout/column_sums.h"

namespace octavo {
namespace {

constexpr int kStepSlots = PackedSlots::kPanelWidth * PackedSlots::kSlots;

int window_width(SlotIndex kind) { return kind == SlotIndex::kNarrow ? 16 : 64; }

struct Step {
  std::uint16_t window;
  std::int8_t value[kStepSlots];
  std::uint8_t index[kStepSlots];
};

// Walks the steps of one panel.
class PanelSteps {
 public:
  PanelSteps(const std::int8_t* codes, std::int64_t columns, std::int64_t k, SlotIndex kind)
      : codes_(codes), k_(k), width_(window_width(kind)), columns_(columns) {
    // Windows end within the padded k, so that kernels read no further.
    last_window_ = std::max<std::int64_t>(0, (k + 63) / 64 * 64 - width_);
    for (std::int64_t j = 0; j < columns_; ++j) next_[j] = first_from(j, 0);
  }

  bool take(Step& step) {
    const std::int64_t first = *std::min_element(next_, next_ + columns_);
    if (first == k_) return false;
    const std::int64_t window = std::min(first, last_window_);
    step = {};
    step.window = static_cast<std::uint16_t>(window);
    for (std::int64_t j = 0; j < columns_; ++j) {
      for (int s = 0; s < PackedSlots::kSlots && next_[j] < std::min(window + width_, k_); ++s) {
        const std::int64_t at = PackedSlots::kSlots * j + s;
        step.value[at] = codes_[j * k_ + next_[j]];
        step.index[at] = static_cast<std::uint8_t>(next_[j] - window);
        next_[j] = first_from(j, next_[j] + 1);
      }
    }
    return true;
  }

 private:
  // The smallest k from `begin` on whose code in column j is not zero; k_ where there is none.
  std::int64_t first_from(std::int64_t j, std::int64_t begin) const {
    const std::int8_t* row = codes_ + j * k_;
    while (begin + 8 <= k_) {
      std::uint64_t eight;
      std::memcpy(&eight, row + begin, 8);
      if (eight != 0) break;
      begin += 8;
    }
    while (begin < k_ && row[begin] == 0) ++begin;
    return begin;
  }

  const std::int8_t* codes_;
  std::int64_t k_, width_, columns_, last_window_;
  std::int64_t next_[PackedSlots::kPanelWidth];
};

// Calls each(panel, step) for every step; after(panel) after the last one of a panel.
template <class Each, class After>
void walk(const std::int8_t* codes, std::int64_t n, std::int64_t k, SlotIndex kind, Each each,
          After after) {
  Step step;
  for (std::int64_t p = 0; p * PackedSlots::kPanelWidth < n; ++p) {
    const std::int64_t n0 = p * PackedSlots::kPanelWidth;
    const std::int64_t columns = std::min<std::int64_t>(PackedSlots::kPanelWidth, n - n0);
    PanelSteps steps(codes + n0 * k, columns, k, kind);
    while (steps.take(step)) each(step);
    after(p);
  }
}

void put_index(const Step& step, SlotIndex kind, std::uint8_t* out) {
  if (kind == SlotIndex::kWide) {
    std::memcpy(out, step.index, kStepSlots);
    return;
  }
  for (int i = 0; i < kStepSlots / 2; ++i) {
    out[i] = static_cast<std::uint8_t>(step.index[i] | step.index[kStepSlots / 2 + i] << 4);
  }
}

}  // namespace

PackedSlots::Offsets PackedSlots::offsets_for(std::int64_t n, std::int64_t steps, SlotIndex kind) {
  const std::int64_t panels = (n + kPanelWidth - 1) / kPanelWidth;
  Offsets at;
  at.window = steps * step_bytes(kind);
  at.first_step = at.window + (2 * steps + 3) / 4 * 4;
  at.negative_sum = at.first_step + 4 * (panels + 1);
  at.col_sum = at.negative_sum + 4 * kPanelWidth * panels;
  at.end = at.col_sum + 4 * n;
  return at;
}

PackedSlots::PackedSlots(const std::int8_t* codes, std::int64_t n, std::int64_t k, SlotIndex kind)
    : n_(n), k_(k), steps_(count_steps(codes, n, k, kind)), kind_(kind) {
  if (steps_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 steps");
  }
  buffer_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  auto* window = part<std::uint16_t>(offsets().window);
  auto* first_step = part<std::uint32_t>(offsets().first_step);
  auto* out = part<std::uint8_t>(0);
  first_step[0] = 0;
  std::int64_t t = 0;
  const auto each = [&](const Step& step) {
    window[t] = step.window;
    std::memcpy(out, step.value, kStepSlots);
    put_index(step, kind, out + kStepSlots);
    out += step_bytes(kind);
    ++t;
  };
  walk(codes, n, k, kind, each,
       [&](std::int64_t p) { first_step[p + 1] = static_cast<std::uint32_t>(t); });
  auto* negative_sum = part<std::int32_t>(offsets().negative_sum);
  std::fill(negative_sum, negative_sum + kPanelWidth * panels(), 0);
  sum_columns(codes, n, k, part<std::int32_t>(offsets().col_sum), negative_sum);
}

SlotPanels PackedSlots::stretch(std::int64_t p, std::int64_t panels) const {
  const Offsets at = offsets();
  return {
      part<std::uint32_t>(at.first_step) + p, part<std::int32_t>(at.negative_sum) + kPanelWidth * p,
      part<std::uint16_t>(at.window),         part<std::uint8_t>(0),
      static_cast<std::int32_t>(panels),      kind_};
}

std::int64_t PackedSlots::count_steps(const std::int8_t* codes, std::int64_t n, std::int64_t k,
                                      SlotIndex kind) {
  std::int64_t steps = 0;
  walk(codes, n, k, kind, [&](const Step&) { ++steps; }, [](std::int64_t) {});
  return steps;
}

void PackedSlots::unpack(std::int8_t* out) const {
  std::fill(out, out + n_ * k_, std::int8_t{0});
  const auto* first_step = part<std::uint32_t>(offsets().first_step);
  const auto* window = part<std::uint16_t>(offsets().window);
  for (std::int64_t n = 0; n < n_; ++n) {
    const std::int64_t p = n / kPanelWidth, column = kSlots * (n % kPanelWidth);
    for (std::int64_t t = first_step[p]; t < first_step[p + 1]; ++t) {
      const auto* value = part<std::int8_t>(t * step_bytes(kind_));
      const auto* index = part<std::uint8_t>(t * step_bytes(kind_) + kStepSlots);
      for (std::int64_t i = column; i < column + kSlots; ++i) {
        const int k = kind_ == SlotIndex::kWide ? index[i]
                      : i < kStepSlots / 2      ? index[i] & 15
                                                : index[i - kStepSlots / 2] >> 4;
        if (value[i] != 0) out[n * k_ + window[t] + k] = value[i];
      }
    }
  }
}

}  // namespace octavo
