// SPDX-License-Identifier: Apache-2.0
#include "weights/grouped.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/common/half1.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

constexpr std::int64_t kFormBytes = 64;

std::int64_t number_bytes(GroupNumbers kind) {
  switch (kind) {
    case GroupNumbers::kNone: return 0;
    case GroupNumbers::kFloat32: return 4;
    case GroupNumbers::kFloat16: return 2;
    case GroupNumbers::kSteps: return 1;
  }
  return 0;
}

// Where the code of an input of a column is among the bytes of a panel that has one for each.
std::int64_t byte_of(std::int64_t column, std::int64_t input) {
  return 16 * (input - input % 8) + (input % 8 < 4 ? 0 : 64) + 4 * column + input % 4;
}

// Copies columns of panels to rows, or back; `row(r)` and `lane(p)` lead to the first of `count`
// values, which in a panel have fifteen others between them.
template <class T>
void interleave(T* panels, std::int64_t panel, T* rows, std::int64_t n, std::int64_t count,
                bool pack) {
  for (std::int64_t row = 0; row < n; ++row) {
    T* lane = panels + row / Weight::kPanelWidth * panel + row % Weight::kPanelWidth;
    for (std::int64_t i = 0; i < count; ++i) {
      T &there = lane[Weight::kPanelWidth * i], &here = rows[row * count + i];
      if (pack) {
        there = here;
      } else {
        here = there;
      }
    }
  }
}

void interleave(GroupNumbers kind, std::uint8_t* panels, std::int64_t bytes, void* rows,
                std::int64_t n, std::int64_t count, bool pack) {
  if (kind == GroupNumbers::kFloat32) {
    interleave(reinterpret_cast<float*>(panels), bytes / 4, static_cast<float*>(rows), n, count,
               pack);
  } else if (kind == GroupNumbers::kFloat16) {
    interleave(reinterpret_cast<std::uint16_t*>(panels), bytes / 2,
               static_cast<std::uint16_t*>(rows), n, count, pack);
  } else {
    interleave(panels, bytes, static_cast<std::uint8_t*>(rows), n, count, pack);
  }
}

}  // namespace

bool GroupedForm::is_valid() const {
  const auto is_kind = [](GroupNumbers kind) {
    return kind >= GroupNumbers::kNone && kind <= GroupNumbers::kSteps;
  };
  return (bits == 4 || bits == 5 || bits == 8) && (group == 32 || group == 64 || group == 128) &&
         scale != GroupNumbers::kNone && is_kind(scale) && is_kind(minimum) &&
         (ordered == 0 || ordered == 1);
}

GroupedWeight::Plane GroupedWeight::plane(GroupNumbers kind, std::int64_t& at) const {
  Plane made;
  made.kind = kind;
  made.at = at;
  made.panel_bytes = number_bytes(kind) * panel_numbers();
  made.units_at = round_up(checked_add(at, checked_mul(panels(), made.panel_bytes)), 64);
  made.unit_bytes = kind == GroupNumbers::kSteps ? 2 * kPanelWidth * units() : 0;
  at = round_up(checked_add(made.units_at, checked_mul(panels(), made.unit_bytes)), 64);
  return made;
}

std::int64_t GroupedWeight::lay_out() {
  const std::int64_t inputs = round_up(k(), form_.group);
  codes_at_ = kFormBytes;
  panel_bytes_ = (form_.bits == 8 ? 16 : 8) * inputs;
  high_at_ = checked_add(codes_at_, checked_mul(panels(), panel_bytes_));
  high_bytes_ = form_.bits == 5 ? 2 * inputs : 0;
  std::int64_t at = checked_add(high_at_, checked_mul(panels(), high_bytes_));
  scale_ = plane(form_.scale, at);
  minimum_ = plane(form_.minimum, at);
  order_at_ = at;
  return checked_add(at, form_.ordered ? 4 * k() : 0);
}

GroupedWeight::GroupedWeight(const GroupedForm& form, const std::uint8_t* codes,
                             const GroupValues& scale, const GroupValues& minimum,
                             const std::int32_t* order, std::int64_t n, std::int64_t k)
    : Weight(n, k), form_(form) {
  const auto bytes = static_cast<std::size_t>(lay_out());
  packed_ = AlignedBuffer(bytes);
  std::memset(at<std::uint8_t>(0), 0, bytes);
  std::memcpy(at<std::uint8_t>(0), &form_, sizeof form_);
  pack_codes(codes);
  pack_numbers(scale_, scale);
  pack_numbers(minimum_, minimum);
  if (form_.ordered) std::copy_n(order, k, at<std::int32_t>(order_at_));
}

GroupedWeight::GroupedWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k)
    : Weight(n, k, std::move(packed)), form_() {
  constexpr const char* kWanted = "packed: expected the bytes of a grouped weight of this shape";
  require(nbytes() >= static_cast<std::size_t>(kFormBytes), kWanted);
  std::memcpy(&form_, at<std::uint8_t>(0), sizeof form_);
  require(form_.is_valid() && nbytes() == static_cast<std::size_t>(lay_out()), kWanted);
  if (!form_.ordered) return;
  require(is_order(order(), k), "packed: expected an order that has every input once");
}

bool GroupedWeight::is_order(const std::int32_t* order, std::int64_t k) {
  std::vector<bool> seen(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int32_t input = order[i];
    if (input < 0 || input >= k || seen[static_cast<std::size_t>(input)]) return false;
    seen[static_cast<std::size_t>(input)] = true;
  }
  return true;
}

const std::int32_t* GroupedWeight::order() const {
  return form_.ordered ? at<std::int32_t>(order_at_) : nullptr;
}

void GroupedWeight::pack_codes(const std::uint8_t* codes) {
  const int offset = form_.offset();
  for (std::int64_t row = 0; row < n(); ++row) {
    const std::int64_t p = row / kPanelWidth, column = row % kPanelWidth;
    if (column == 0) interruption_point();
    auto* panel = at<std::uint8_t>(codes_at_ + p * panel_bytes_);
    auto* high = at<std::uint8_t>(high_at_ + p * high_bytes_);
    for (std::int64_t i = 0; i < k(); ++i) {
      const int code = (codes[row * k() + i] + offset) & 255;
      const std::int64_t byte = byte_of(column, i);
      if (form_.bits == 8) {
        panel[byte] = static_cast<std::uint8_t>(code);
        continue;
      }
      const std::int64_t eight = byte / 128, place = byte % 128;
      panel[64 * eight + place % 64] |= static_cast<std::uint8_t>((code & 15) << place / 64 * 4);
      if (form_.bits == 5) {
        high[16 * eight + place % 16] |= static_cast<std::uint8_t>((code >> 4 & 1) << place / 16);
      }
    }
  }
}

int GroupedWeight::code_at(std::int64_t row, std::int64_t input) const {
  const std::int64_t p = row / kPanelWidth, byte = byte_of(row % kPanelWidth, input);
  const auto* panel = at<std::uint8_t>(codes_at_ + p * panel_bytes_);
  if (form_.bits == 8) return panel[byte] - form_.offset();
  const std::int64_t eight = byte / 128, place = byte % 128;
  int code = panel[64 * eight + place % 64] >> place / 64 * 4 & 15;
  if (form_.bits == 5) {
    const auto* high = at<std::uint8_t>(high_at_ + p * high_bytes_);
    code |= (high[16 * eight + place % 16] >> place / 16 & 1) << 4;
  }
  return code - form_.offset();
}

void GroupedWeight::unpack(std::int8_t* out) const {
  for (std::int64_t row = 0; row < n(); ++row) {
    if (row % kPanelWidth == 0) interruption_point();
    for (std::int64_t i = 0; i < k(); ++i) {
      out[row * k() + i] = static_cast<std::int8_t>(code_at(row, i));
    }
  }
}

void GroupedWeight::pack_numbers(const Plane& plane, const GroupValues& from) {
  if (plane.kind == GroupNumbers::kNone) return;
  interleave(plane.kind, at<std::uint8_t>(plane.at), plane.panel_bytes,
             const_cast<void*>(from.values), n(), groups(), true);
  if (plane.kind == GroupNumbers::kSteps) {
    interleave(at<std::uint16_t>(plane.units_at), plane.unit_bytes / 2,
               const_cast<std::uint16_t*>(from.units), n(), units(), true);
  }
}

void GroupedWeight::unpack_numbers(const Plane& plane, void* values, std::uint16_t* units) const {
  interleave(plane.kind, at<std::uint8_t>(plane.at), plane.panel_bytes, values, n(), groups(),
             false);
  if (plane.kind == GroupNumbers::kSteps) {
    interleave(at<std::uint16_t>(plane.units_at), plane.unit_bytes / 2, units, n(), this->units(),
               false);
  }
}

void GroupedWeight::unpack_scale(void* values, std::uint16_t* units) const {
  unpack_numbers(scale_, values, units);
}

void GroupedWeight::unpack_minimum(void* values, std::uint16_t* units) const {
  unpack_numbers(minimum_, values, units);
}

PanelNumbers GroupedWeight::panels_of(const Plane& plane, std::int64_t p) const {
  return {plane.kind, at<std::uint8_t>(plane.at + p * plane.panel_bytes), plane.panel_bytes,
          at<std::uint16_t>(plane.units_at + p * plane.unit_bytes), plane.unit_bytes / 2};
}

float GroupedWeight::number_at(const Plane& plane, std::int64_t row, std::int64_t g) const {
  const PanelNumbers panel = panels_of(plane, row / kPanelWidth);
  const std::int64_t column = row % kPanelWidth, i = kPanelWidth * g + column;
  switch (plane.kind) {
    case GroupNumbers::kFloat32: return reinterpret_cast<const float*>(panel.values)[i];
    case GroupNumbers::kFloat16:
      return half_to_float(reinterpret_cast<const std::uint16_t*>(panel.values)[i]);
    case GroupNumbers::kSteps: {
      const std::int64_t unit = kPanelWidth * (g / kGroupsPerUnit) + column;
      return half_to_float(panel.units[unit]) * static_cast<float>(panel.values[i]);
    }
    case GroupNumbers::kNone: break;
  }
  return 0.0f;
}

void GroupedWeight::rows(const std::int64_t* ids, std::int64_t count, float* out) const {
  const bool has_minimum = minimum_.kind != GroupNumbers::kNone;
  for (std::int64_t r = 0; r < count; ++r) {
    interruption_point();
    float* row = out + r * k();
    for (std::int64_t g = 0; g < groups(); ++g) {
      const float scale = number_at(scale_, ids[r], g), minimum = number_at(minimum_, ids[r], g);
      const std::int64_t end = std::min(k(), (g + 1) * form_.group);
      for (std::int64_t i = g * form_.group; i < end; ++i) {
        const float value = static_cast<float>(code_at(ids[r], i)) * scale;
        row[form_.ordered ? order()[i] : i] = has_minimum ? value + minimum : value;
      }
    }
  }
}

int GroupedWeight::base_factor(const GemmGroupsRow& kernel) const {
  return (form_.bits == 8 ? kernel.byte_offset : 0) - form_.offset();
}

Schedule GroupedWeight::schedule(std::int64_t m, IsaMask mask) const {
  const GemmGroupsRow& kernel = select<GemmGroupsArgs>(mask);
  const bool has_minimum = minimum_.kind != GroupNumbers::kNone;
  Schedule schedule = {};
  schedule.rows = m;
  schedule.mask = mask;
  schedule.work = n() * k();
  schedule.form = ActivationEncoding::kS8;
  schedule.row_unit = 1;
  schedule.block_rows = kernel.block_rows;
  schedule.panels_at_once = panels();
  schedule.groups = groups();
  schedule.prepared_for = 4 * base_factor(kernel) + 2 * has_minimum + 1;
  const std::int64_t rows = std::min<std::int64_t>(m, kernel.block_rows);
  schedule.tile_bytes = 4 * (1 + has_minimum) * rows * groups();
  schedule.scratch_bytes = form_.bits == 8 ? 0 : kUnpackedBytes;
  return schedule;
}

void GroupedWeight::prepare(const Schedule& schedule, const CodeBlock& block, std::int64_t /*rows*/,
                            std::int64_t begin, std::int64_t end) const {
  auto* base = reinterpret_cast<std::int32_t*>(block.tile);
  auto* sums = reinterpret_cast<float*>(base + groups() * block.scale_stride);
  const int factor = base_factor(select<GemmGroupsArgs>(schedule.mask));
  const bool has_minimum = minimum_.kind != GroupNumbers::kNone;
  for (std::int64_t m = begin; m < end; ++m) {
    const auto* codes = reinterpret_cast<const std::int8_t*>(block.codes) + m * block.stride;
    for (std::int64_t g = 0; g < groups(); ++g) {
      const std::int64_t first = g * form_.group, last = std::min(k(), first + form_.group);
      const std::int32_t sum = std::accumulate(codes + first, codes + last, 0);
      const std::int64_t at = g * block.scale_stride + m;
      base[at] = factor * sum;
      if (has_minimum) sums[m * groups() + g] = static_cast<float>(sum) * block.row_scale[at];
    }
  }
}

void GroupedWeight::multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                             std::int64_t p, std::int64_t panels, std::int32_t* sums,
                             std::int64_t stride) const {
  auto* c = reinterpret_cast<float*>(sums);
  if (k() == 0) {
    for (std::int64_t m = 0; m < rows; ++m) std::fill_n(c + m * stride, kPanelWidth * panels, 0.0f);
    return;
  }
  if (minimum_.kind != GroupNumbers::kNone)
    start_at_minima(schedule, block, rows, p, panels, c, stride);
  GemmGroupsArgs args;
  args.a = block.codes;
  args.a_stride = block.stride;
  args.a_scale = block.row_scale;
  args.a_base = reinterpret_cast<const std::int32_t*>(block.tile);
  args.a_scale_stride = block.scale_stride;
  args.b = at<std::uint8_t>(codes_at_ + p * panel_bytes_);
  args.b_panel_stride = panel_bytes_;
  args.b_high = at<std::uint8_t>(high_at_ + p * high_bytes_);
  args.b_high_stride = high_bytes_;
  args.b_scale = panels_of(scale_, p);
  args.scratch = block.scratch;
  args.c = c;
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  args.k = static_cast<std::int32_t>(k());
  args.group = form_.group;
  args.bits = form_.bits;
  args.accumulate = minimum_.kind != GroupNumbers::kNone;
  select<GemmGroupsArgs>(schedule.mask).run(args);
}

void GroupedWeight::start_at_minima(const Schedule& schedule, const CodeBlock& block,
                                    std::int64_t rows, std::int64_t p, std::int64_t panels,
                                    float* c, std::int64_t stride) const {
  GroupMinimaArgs args;
  args.sums = reinterpret_cast<const float*>(block.tile) + groups() * block.scale_stride;
  args.sums_stride = groups();
  args.minima = panels_of(minimum_, p);
  args.c = c;
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  args.groups = groups();
  select<GroupMinimaArgs>(schedule.mask).run(args);
}

}  // namespace octavo
