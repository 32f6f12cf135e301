// SPDX-License-Identifier: Apache-2.0
#include "weights/bitmap.h"

#include <algorithm>
#include <bitset>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "threads/interrupt.h"

namespace octavo {

namespace {

// What is expanded at a time, 24 KiB of scratch: it is read back from L1, or L2 at worst. Kernels
// take 1, 2 or 3 panels together.
constexpr std::int64_t kPanels = 6;
constexpr std::int64_t kPartGroups = BitmapWeight::kBlockGroups;
constexpr std::int64_t kPanelBytes = kPartGroups * Weight::kPanelWidth * Weight::kGroup;

// Null where the rows are too many, or where the tier has no such kernel but can expand.
const GemmBitmapS8Row* fused_for(const std::int64_t m, IsaMask mask) {
  const GemmBitmapS8Row& row = select<GemmBitmapS8Args>(mask);
  const bool lesser_tier = bit(row.isa) < bit(select<ExpandS8Args>(mask).isa);
  return m > row.most_rows || lesser_tier ? nullptr : &row;
}

std::int64_t count_non_zeros(const std::int8_t* codes, std::int64_t n, std::int64_t k) {
  std::int64_t zeros = 0;
  for (std::int64_t j = 0; j < n; ++j, codes += k) {
    if (j % Weight::kPanelWidth == 0) interruption_point();
    zeros += std::count(codes, codes + k, std::int8_t{0});
  }
  return n * k - zeros;
}

}  // namespace

BitmapWeight::Offsets BitmapWeight::offsets_for(std::int64_t n, std::int64_t k,
                                                std::int64_t non_zeros) {
  const std::int64_t panels = ceil_div(n, kPanelWidth), groups = ceil_div(k, kGroup);
  Offsets at;
  at.first_value = 8 * groups * panels;
  at.col_sum = at.first_value + 4 * (ceil_div(groups, kBlockGroups) + 1) * panels;
  at.value = at.col_sum + 4 * n;
  at.end = at.value + non_zeros + kSlack;
  return at;
}

FormatCost BitmapWeight::cost(const std::int8_t* codes, std::int64_t n, std::int64_t k, IsaMask) {
  const std::int64_t bytes = offsets_for(n, k, count_non_zeros(codes, n, k)).end;
  return {ceil_div(n, kPanelWidth) * ceil_div(k, kGroup), bytes - 4 * n};
}

BitmapWeight::BitmapWeight(const std::int8_t* codes, std::int64_t n, std::int64_t k)
    : Weight(n, k), non_zeros_(count_non_zeros(codes, n, k)) {
  if (non_zeros_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 that are not zero");
  }
  packed_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  std::int64_t at = 0;
  for (std::int64_t p = 0; p < panels(); ++p) {
    interruption_point();
    at = pack_panel(codes, p, at);
  }
  std::memset(this->at<std::int8_t>(offsets().value + at), 0, kSlack);
}

BitmapWeight::BitmapWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k)
    : Weight(n, k, std::move(packed)) {
  non_zeros_ = static_cast<std::int64_t>(nbytes()) - offsets_for(n, k, 0).end;
  require(non_zeros_ >= 0 && non_zeros_ <= std::numeric_limits<std::uint32_t>::max(),
          "packed: expected as many bytes as a bitmap of this shape has");
  std::int64_t at = 0;
  for (std::int64_t p = 0; p < panels(); ++p) {
    interruption_point();
    check_panel(p, &at);
  }
  require(at == non_zeros_, "packed: expected as many values as bits");
}

// Bits stand for weights that there are, and blocks find their values: from `at` on, in order.
void BitmapWeight::check_panel(std::int64_t p, std::int64_t* at) const {
  const std::int64_t width = std::min<std::int64_t>(kPanelWidth, n() - p * kPanelWidth);
  const auto* mask = this->at<std::uint64_t>(0) + p * k_groups();
  const auto* first = this->at<std::uint32_t>(offsets().first_value) + p * (blocks() + 1);
  const std::uint64_t columns = ~std::uint64_t{0} >> (64 - kGroup * width);
  for (std::int64_t g = 0; g < k_groups(); ++g) {
    require(g % kBlockGroups != 0 || first[g / kBlockGroups] == *at,
            "packed: expected blocks that begin where their values do");
    const std::int64_t count = std::min<std::int64_t>(kGroup, k() - g * kGroup);
    const std::uint64_t inputs = 0x1111111111111111u * ((1u << count) - 1);
    require((mask[g] & ~(columns & inputs)) == 0, "packed: expected bits within the weight");
    *at += static_cast<std::int64_t>(std::bitset<64>(mask[g]).count());
  }
  require(first[blocks()] == *at, "packed: expected blocks that end where their values do");
}

std::int64_t BitmapWeight::pack_panel(const std::int8_t* codes, std::int64_t p, std::int64_t at) {
  const std::int64_t n0 = p * kPanelWidth;
  const std::int64_t width = std::min<std::int64_t>(kPanelWidth, n() - n0);
  auto* mask = this->at<std::uint64_t>(0) + p * k_groups();
  auto* first_value = this->at<std::uint32_t>(offsets().first_value) + p * (blocks() + 1);
  auto* value = this->at<std::int8_t>(offsets().value);
  std::uint32_t sums[kPanelWidth] = {};
  for (std::int64_t g = 0; g < k_groups(); ++g) {
    if (g % kBlockGroups == 0) first_value[g / kBlockGroups] = static_cast<std::uint32_t>(at);
    const std::int64_t count = std::min<std::int64_t>(kGroup, k() - g * kGroup);
    mask[g] = 0;
    for (std::int64_t j = 0; j < width; ++j) {
      const std::int8_t* four = codes + (n0 + j) * k() + g * kGroup;
      for (std::int64_t i = 0; i < count; ++i) {
        if (four[i] == 0) continue;
        mask[g] |= std::uint64_t{1} << (kGroup * j + i);
        value[at++] = four[i];
        sums[j] += static_cast<std::uint32_t>(four[i]);
      }
    }
  }
  first_value[blocks()] = static_cast<std::uint32_t>(at);
  std::memcpy(this->at<std::int32_t>(offsets().col_sum) + n0, sums,
              static_cast<std::size_t>(4 * width));
  return at;
}

BitmapPanels BitmapWeight::stretch(std::int64_t p, std::int64_t panels, std::int64_t block) const {
  const Offsets at = offsets();
  BitmapPanels b;
  b.mask = this->at<std::uint64_t>(0) + p * k_groups() + block * kBlockGroups;
  b.mask_stride = k_groups();
  b.first_value = this->at<std::uint32_t>(at.first_value) + p * (blocks() + 1) + block;
  b.first_stride = blocks() + 1;
  b.value = this->at<std::int8_t>(at.value);
  b.panels = static_cast<std::int32_t>(panels);
  return b;
}

void BitmapWeight::unpack(std::int8_t* out) const {
  std::fill(out, out + n() * k(), std::int8_t{0});
  const auto* value = this->at<std::int8_t>(offsets().value);
  const auto* mask = this->at<std::uint64_t>(0);
  for (std::int64_t p = 0; p < panels(); ++p) {
    interruption_point();
    for (std::int64_t g = 0; g < k_groups(); ++g) {
      std::uint64_t bits = *mask++;
      for (std::int64_t i = 0; bits != 0; ++i, bits >>= 1) {
        if ((bits & 1) == 0) continue;
        const std::int64_t n = p * kPanelWidth + i / kGroup, k = g * kGroup + i % kGroup;
        out[n * this->k() + k] = *value++;
      }
    }
  }
}

Schedule BitmapWeight::schedule(std::int64_t m, IsaMask mask) const {
  const GemmBitmapS8Row* fused = fused_for(m, mask);
  const GemmS8Row& gemm = select<GemmS8Args>(mask, m);
  Schedule schedule = {};
  schedule.rows = m;
  schedule.mask = mask;
  schedule.work = n() * k();
  schedule.form = fused ? fused->form : gemm.form;
  schedule.row_unit = fused ? 1 : std::max(gemm.mr, gemm.m_align);
  schedule.block_rows = fused ? fused->most_rows : gemm.block_rows;
  schedule.panels_at_once = panels();
  schedule.scratch_bytes = fused ? 0 : kPanels * kPanelBytes;
  return schedule;
}

void BitmapWeight::multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                            std::int64_t p, std::int64_t panels, std::int32_t* sums,
                            std::int64_t stride) const {
  if (const GemmBitmapS8Row* fused = fused_for(schedule.rows, schedule.mask)) {
    fused->run({stretch(p, panels), block.codes, block.stride, sums, stride,
                static_cast<std::int32_t>(rows), static_cast<std::int32_t>(k_groups())});
    return;
  }
  for (std::int64_t done = 0; done < panels; done += kPanels) {
    const std::int64_t some = std::min(kPanels, panels - done);
    std::int64_t part = 0;
    do {  // once even for k = 0, which writes the zeros
      expand_part(schedule, block, rows, p + done, some, part, sums + done * kPanelWidth, stride);
      ++part;
    } while (part * kPartGroups < k_groups());
  }
}

void BitmapWeight::expand_part(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                               std::int64_t p, std::int64_t panels, std::int64_t part,
                               std::int32_t* sums, std::int64_t stride) const {
  // Kernels that read 16 groups at once multiply those behind the last one with zeros.
  auto* expanded = reinterpret_cast<std::int8_t*>(block.scratch);
  const std::int64_t first = part * kPartGroups;
  const auto groups = static_cast<std::int32_t>(std::min(kPartGroups, k_groups() - first));
  select<ExpandS8Args>(schedule.mask)
      .run({stretch(p, panels, part), expanded, kPanelBytes, groups});
  GemmS8Args args;
  args.a = block.codes + first * kGroup;
  args.a_stride = block.stride;
  args.a_abs_offset = block.abs_offset;
  args.b = expanded;
  args.b_panel_stride = kPanelBytes;
  args.c = sums;
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  args.k_groups = groups;
  args.accumulate = part > 0;
  select<GemmS8Args>(schedule.mask, schedule.rows).run(args);
}

}  // namespace octavo
