// SPDX-License-Identifier: Apache-2.0
#include "weights/int4.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "threads/interrupt.h"

namespace octavo {
namespace {

// Where the code of an input of a column is within its panel, and whether in the high half.
struct Place {
  std::int64_t byte;
  int shift;
};

Place place_of(std::int64_t column, std::int64_t input) {
  const std::int64_t i = input % 8;
  return {8 * (input - i) + 4 * column + i % 4, i < 4 ? 0 : 4};
}

}  // namespace

Int4Weight::Int4Weight(const std::int8_t* codes, const float* scale, std::int64_t n, std::int64_t k,
                       std::int64_t group)
    : Weight(n, k), group_(group) {
  packed_ = AlignedBuffer(static_cast<std::size_t>(end()));
  auto* out = at<std::uint8_t>(0);
  auto* scales = at<float>(code_bytes());
  std::memset(out, 0x88, static_cast<std::size_t>(code_bytes()));
  std::fill_n(scales, panels() * panel_scales(), 0.0f);
  for (std::int64_t row = 0; row < n; ++row) {
    const std::int64_t p = row / kPanelWidth, column = row % kPanelWidth;
    if (column == 0) interruption_point();
    for (std::int64_t i = 0; i < k; ++i) {
      const Place place = place_of(column, i);
      std::uint8_t& byte = out[p * panel_bytes() + place.byte];
      const int code = (codes[row * k + i] + 8) & 15;
      byte = static_cast<std::uint8_t>((byte & ~(15 << place.shift)) | code << place.shift);
    }
    for (std::int64_t g = 0; g < groups(); ++g) {
      scales[p * panel_scales() + kPanelWidth * g + column] = scale[row * groups() + g];
    }
  }
}

Int4Weight::Int4Weight(AlignedBuffer packed, std::int64_t n, std::int64_t k, std::int64_t group)
    : Weight(n, k, std::move(packed)), group_(group) {
  require(nbytes() == static_cast<std::size_t>(end()),
          "packed: expected as many bytes as a weight of 4 bits of this shape has");
}

void Int4Weight::unpack(std::int8_t* out) const {
  const auto* codes = at<std::uint8_t>(0);
  for (std::int64_t row = 0; row < n(); ++row) {
    if (row % kPanelWidth == 0) interruption_point();
    const std::uint8_t* panel = codes + row / kPanelWidth * panel_bytes();
    for (std::int64_t i = 0; i < k(); ++i) {
      const Place place = place_of(row % kPanelWidth, i);
      out[row * k() + i] = static_cast<std::int8_t>((panel[place.byte] >> place.shift & 15) - 8);
    }
  }
}

void Int4Weight::unpack_scales(float* out) const {
  for (std::int64_t row = 0; row < n(); ++row) {
    const float* scales = at<float>(code_bytes()) + row / kPanelWidth * panel_scales();
    for (std::int64_t g = 0; g < groups(); ++g) {
      out[row * groups() + g] = scales[kPanelWidth * g + row % kPanelWidth];
    }
  }
}

Schedule Int4Weight::schedule(std::int64_t m, IsaMask mask) const {
  const GemmS4Row& kernel = select<GemmS4Args>(mask);
  Schedule schedule = {};
  schedule.rows = m;
  schedule.mask = mask;
  schedule.work = n() * k();
  schedule.form = ActivationEncoding::kS8;
  schedule.row_unit = 1;
  schedule.block_rows = kernel.block_rows;
  schedule.panels_at_once = panels();
  schedule.groups = groups();
  schedule.tile_bytes = 4 * std::min<std::int64_t>(m, kernel.block_rows) * groups();
  if (m > kernel.mr) schedule.scratch_bytes = kUnpackedBytes;
  return schedule;
}

void Int4Weight::prepare(const Schedule&, const CodeBlock& block, std::int64_t /*rows*/,
                         std::int64_t begin, std::int64_t end) const {
  auto* base = reinterpret_cast<std::int32_t*>(block.tile);
  for (std::int64_t m = begin; m < end; ++m) {
    const auto* codes = reinterpret_cast<const std::int8_t*>(block.codes) + m * block.stride;
    for (std::int64_t g = 0; g < groups(); ++g) {
      const std::int8_t* first = codes + g * group_;
      const std::int64_t count = std::min(group_, padded_k(k()) - g * group_);
      base[g * block.scale_stride + m] = -8 * std::accumulate(first, first + count, 0);
    }
  }
}

void Int4Weight::multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                          std::int64_t p, std::int64_t panels, std::int32_t* sums,
                          std::int64_t stride) const {
  if (k() == 0) {
    auto* out = reinterpret_cast<float*>(sums);
    for (std::int64_t m = 0; m < rows; ++m)
      std::fill_n(out + m * stride, kPanelWidth * panels, 0.0f);
    return;
  }
  GemmS4Args args;
  args.a = block.codes;
  args.a_stride = block.stride;
  args.a_scale = block.row_scale;
  args.a_base = reinterpret_cast<const std::int32_t*>(block.tile);
  args.a_scale_stride = block.scale_stride;
  args.b = at<std::uint8_t>(p * panel_bytes());
  args.b_panel_stride = panel_bytes();
  args.b_scale = at<float>(code_bytes()) + p * panel_scales();
  args.b_scale_stride = panel_scales();
  args.scratch = block.scratch;
  args.c = reinterpret_cast<float*>(sums);
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  args.k = static_cast<std::int32_t>(k());
  args.group = static_cast<std::int32_t>(group_);
  select<GemmS4Args>(schedule.mask).run(args);
}

}  // namespace octavo
