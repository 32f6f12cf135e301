// SPDX-License-Identifier: Apache-2.0
#include "weights/windowed.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "threads/interrupt.h"
#include "weights/byte_tile.h"
#include "weights/column_sums.h"

namespace octavo {
namespace {

constexpr int kSlots = 4;
constexpr int kStepSlots = Weight::kPanelWidth * kSlots;
constexpr std::int64_t kTileRows = 32;

int window_width(SlotIndex kind) { return kind == SlotIndex::kNarrow ? 16 : 64; }

// Windows end within the padded k, so that kernels read no further.
std::int64_t last_window(std::int64_t k, SlotIndex kind) {
  return std::max<std::int64_t>(0, round_up(k, 64) - window_width(kind));
}

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
    last_window_ = last_window(k, kind);
    for (std::int64_t j = 0; j < columns_; ++j) next_[j] = first_from(j, 0);
  }

  bool take(Step& step) {
    const std::int64_t first = *std::min_element(next_, next_ + columns_);
    if (first == k_) return false;
    const std::int64_t window = std::min(first, last_window_);
    step = {};
    step.window = static_cast<std::uint16_t>(window);
    for (std::int64_t j = 0; j < columns_; ++j) {
      for (int s = 0; s < kSlots && next_[j] < std::min(window + width_, k_); ++s) {
        const std::int64_t at = kSlots * j + s;
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
  std::int64_t next_[Weight::kPanelWidth];
};

// Calls each(panel, step) for every step; after(panel) after the last one of a panel.
template <class Each, class After>
void walk(const std::int8_t* codes, std::int64_t n, std::int64_t k, SlotIndex kind, Each each,
          After after) {
  Step step;
  for (std::int64_t p = 0; p * Weight::kPanelWidth < n; ++p) {
    const std::int64_t n0 = p * Weight::kPanelWidth;
    const std::int64_t columns = std::min<std::int64_t>(Weight::kPanelWidth, n - n0);
    interruption_point();
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

std::int64_t count_steps(const std::int8_t* codes, std::int64_t n, std::int64_t k, SlotIndex kind) {
  std::int64_t steps = 0;
  walk(codes, n, k, kind, [&](const Step&) { ++steps; }, [](std::int64_t) {});
  return steps;
}

// One shuffle picks out of a narrow window: gather_s8 stays ahead there however many rows there
// are.
bool worth_broadcasting(const GatherS8Row& gather, SlotIndex kind, std::int64_t rows) {
  return kind == SlotIndex::kWide && rows >= gather.broadcast_rows;
}

}  // namespace

template <SlotIndex Kind>
typename WindowedWeight<Kind>::Offsets WindowedWeight<Kind>::offsets_for(std::int64_t n,
                                                                         std::int64_t steps) {
  const std::int64_t panels = ceil_div(n, kPanelWidth);
  Offsets at;
  at.window = steps * step_bytes(Kind);
  at.first_step = at.window + round_up(2 * steps, 4);
  at.negative_sum = at.first_step + 4 * (panels + 1);
  at.col_sum = at.negative_sum + 4 * kPanelWidth * panels;
  at.end = at.col_sum + 4 * n;
  return at;
}

template <SlotIndex Kind>
FormatCost WindowedWeight<Kind>::cost(const std::int8_t* codes, std::int64_t n, std::int64_t k,
                                      IsaMask) {
  const std::int64_t steps = count_steps(codes, n, k, Kind);
  return {steps, offsets_for(n, steps).end - 4 * n};
}

template <SlotIndex Kind>
WindowedWeight<Kind>::WindowedWeight(const std::int8_t* codes, std::int64_t n, std::int64_t k)
    : Weight(n, k), steps_(count_steps(codes, n, k, Kind)) {
  if (steps_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 steps");
  }
  packed_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  auto* window = this->at<std::uint16_t>(offsets().window);
  auto* first_step = this->at<std::uint32_t>(offsets().first_step);
  auto* out = this->at<std::uint8_t>(0);
  first_step[0] = 0;
  std::int64_t t = 0;
  const auto each = [&](const Step& step) {
    window[t] = step.window;
    std::memcpy(out, step.value, kStepSlots);
    put_index(step, Kind, out + kStepSlots);
    out += step_bytes(Kind);
    ++t;
  };
  walk(codes, n, k, Kind, each,
       [&](std::int64_t p) { first_step[p + 1] = static_cast<std::uint32_t>(t); });
  auto* negative_sum = this->at<std::int32_t>(offsets().negative_sum);
  std::fill(negative_sum, negative_sum + kPanelWidth * panels(), 0);
  sum_columns(codes, n, k, this->at<std::int32_t>(offsets().col_sum), negative_sum);
}

template <SlotIndex Kind>
WindowedWeight<Kind>::WindowedWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k)
    : Weight(n, k, std::move(packed)) {
  const std::int64_t rest = static_cast<std::int64_t>(nbytes()) - offsets_for(n, 0).end;
  steps_ = rest / (step_bytes(Kind) + 2);
  require(rest >= 0 && nbytes() == static_cast<std::size_t>(offsets().end) &&
              steps_ <= std::numeric_limits<std::uint32_t>::max(),
          "packed: expected as many bytes as whole steps of this shape have");
  const auto* first_step = this->at<std::uint32_t>(offsets().first_step);
  require(first_step[0] == 0 && first_step[panels()] == steps_ &&
              std::is_sorted(first_step, first_step + panels() + 1),
          "packed: expected panels that follow one another");
  for (std::int64_t p = 0; p < panels(); ++p) {
    interruption_point();
    for (std::int64_t t = first_step[p]; t < first_step[p + 1]; ++t) check_step(p, t);
  }
}

template <SlotIndex Kind>
void WindowedWeight<Kind>::check_step(std::int64_t p, std::int64_t t) const {
  const std::int64_t window = this->at<std::uint16_t>(offsets().window)[t];
  require(window <= last_window(k(), Kind), "packed: expected windows within the padded inputs");
  const auto* value = this->at<std::int8_t>(t * step_bytes(Kind));
  for (std::int64_t i = 0; i < kStepSlots; ++i) {
    const std::int64_t output = p * kPanelWidth + i / kSlots, index = slot_index(t, i);
    require(index < window_width(Kind) && (value[i] == 0 || (output < n() && window + index < k())),
            "packed: expected slots within the weight");
  }
}

template <SlotIndex Kind>
std::int64_t WindowedWeight<Kind>::slot_index(std::int64_t t, std::int64_t slot) const {
  const auto* index = this->at<std::uint8_t>(t * step_bytes(Kind) + kStepSlots);
  if (Kind == SlotIndex::kWide) return index[slot];
  return slot < kStepSlots / 2 ? index[slot] & 15 : index[slot - kStepSlots / 2] >> 4;
}

template <SlotIndex Kind>
WindowedPanels WindowedWeight<Kind>::stretch(std::int64_t p, std::int64_t panels) const {
  const Offsets at = offsets();
  return {this->at<std::uint32_t>(at.first_step) + p,
          this->at<std::int32_t>(at.negative_sum) + kPanelWidth * p,
          this->at<std::uint16_t>(at.window),
          this->at<std::uint8_t>(0),
          static_cast<std::int32_t>(panels),
          Kind};
}

template <SlotIndex Kind>
void WindowedWeight<Kind>::unpack(std::int8_t* out) const {
  std::fill(out, out + n() * k(), std::int8_t{0});
  const auto* first_step = this->at<std::uint32_t>(offsets().first_step);
  const auto* window = this->at<std::uint16_t>(offsets().window);
  for (std::int64_t n = 0; n < this->n(); ++n) {
    const std::int64_t p = n / kPanelWidth, column = kSlots * (n % kPanelWidth);
    if (column == 0) interruption_point();
    for (std::int64_t t = first_step[p]; t < first_step[p + 1]; ++t) {
      const auto* value = this->at<std::int8_t>(t * step_bytes(Kind));
      for (std::int64_t i = column; i < column + kSlots; ++i) {
        if (value[i] != 0) out[n * this->k() + window[t] + slot_index(t, i)] = value[i];
      }
    }
  }
}

template <SlotIndex Kind>
Schedule WindowedWeight<Kind>::schedule(std::int64_t m, IsaMask mask) const {
  const GatherS8Row& gather = select_pair<GatherS8Args, BroadcastWindowedS8Args>(mask).kernel;
  Schedule schedule = {};
  schedule.rows = m;
  schedule.mask = mask;
  schedule.work = 64 * steps_;
  schedule.form = gather.form;
  schedule.row_unit = 1;
  schedule.block_rows = kTileRows;
  schedule.panels_at_once = panels();
  schedule.fill_unit = 8;
  schedule.tile_bytes = worth_broadcasting(gather, Kind, m) ? kTileRows * padded_k(k()) : 0;
  schedule.even_blocks = false;  // a tile of 20 rows costs as much as one of 32
  return schedule;
}

template <SlotIndex Kind>
void WindowedWeight<Kind>::prepare(const Schedule& schedule, const CodeBlock& block,
                                   std::int64_t rows, std::int64_t begin, std::int64_t end) const {
  const auto kernels = select_pair<GatherS8Args, BroadcastWindowedS8Args>(schedule.mask);
  if (!worth_broadcasting(kernels.kernel, Kind, rows)) return;
  fill_byte_tile(schedule.mask, block, kTileRows, begin, end, k());
}

template <SlotIndex Kind>
void WindowedWeight<Kind>::multiply(const Schedule& schedule, const CodeBlock& block,
                                    std::int64_t rows, std::int64_t p, std::int64_t panels,
                                    std::int32_t* sums, std::int64_t stride) const {
  const auto kernels = select_pair<GatherS8Args, BroadcastWindowedS8Args>(schedule.mask);
  const WindowedPanels stretch = this->stretch(p, panels);
  const auto m = static_cast<std::int32_t>(rows);
  if (worth_broadcasting(kernels.kernel, Kind, rows)) {
    kernels.partner.run({stretch, block.tile, sums, stride, m});
  } else {
    kernels.kernel.run({stretch, block.codes, block.stride, sums, stride, m});
  }
}

template class WindowedWeight<SlotIndex::kNarrow>;
template class WindowedWeight<SlotIndex::kWide>;

}  // namespace octavo
