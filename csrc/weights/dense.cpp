// SPDX-License-Identifier: Apache-2.0
#include "weights/dense.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

#include "threads/interrupt.h"
#include "weights/interleave.h"

namespace octavo {
namespace {

// A part of k consists of whole blocks of a GroupOrder.
constexpr std::int64_t kOrderK = GroupOrder::kGroups * Weight::kGroup;
// With k in parts, panels at a time: each part jumps from panel to panel, and the prefetcher loses
// its thread over many of them (8x4096x4096, AVX2: 69 GOP/s with 56 panels, 106 with 8; 16 give
// 1.00 to 1.05 times the speed of 8 from 8 to 128 rows, 4 give 0.95 to 0.98).
constexpr std::int64_t kPanelsWithParts = 16;

// A panel's part is read once per block of mr rows: with one such block a split brings nothing.
std::int64_t part_of_k(std::int64_t m, const GemmS8Row& kernel, std::int64_t k) {
  const std::int64_t parts = m <= kernel.mr ? 1 : ceil_div(padded_k(k), kernel.k_part);
  return round_up(ceil_div(padded_k(k), parts), kOrderK);
}

// Four codes of one column: one 32-bit move where they are neighbours.
inline std::uint32_t gather4(const std::uint8_t* p, std::int64_t stride, std::int64_t count) {
  std::uint32_t four = 0;
  if (stride == 1 && count == 4) {
    std::memcpy(&four, p, 4);
    return four;
  }
  std::uint8_t bytes[4] = {0, 0, 0, 0};
  for (std::int64_t i = 0; i < count; ++i) bytes[i] = p[i * stride];
  std::memcpy(&four, bytes, 4);
  return four;
}

// What a product can reach on either sign of a: the larger of |b| and |~b|.
int reach(std::int8_t b) { return b < 0 ? -b : b + 1; }

// Reach summed over each lane of two codes that a 16-bit dot product adds, per group: 32 lanes a
// panel, one panel or two.
struct LaneSums {
  int lanes;
  std::uint16_t lane[GroupOrder::kGroups][64];
  std::uint16_t largest[GroupOrder::kGroups];
};

void sum_lanes(const std::int8_t* panel, std::int64_t panel_stride, int panels, int groups,
               LaneSums& sums) {
  sums.lanes = 32 * panels;
  for (int g = 0; g < groups; ++g) {
    sums.largest[g] = 0;
    for (int i = 0; i < sums.lanes; ++i) {
      const std::int8_t* codes = panel + i / 32 * panel_stride + 64 * g + i % 32 * 2;
      sums.lane[g][i] = static_cast<std::uint16_t>(reach(codes[0]) + reach(codes[1]));
      sums.largest[g] = std::max(sums.largest[g], sums.lane[g][i]);
    }
  }
}

bool fits(const LaneSums& sums, int g, int h) {
  int largest = 0;
  for (int i = 0; i < sums.lanes; ++i) {
    largest = std::max(largest, sums.lane[g][i] + sums.lane[h][i]);
  }
  return largest <= 255;
}

// Greedy: the group with the largest weights takes the largest partner that fits. On normally
// distributed weights (K = 384) this pairs 99.9% of the groups; neighbours fit in 62% of the cases.
void pair_groups(const LaneSums& sums, int groups, GroupOrder& order) {
  int by_size[GroupOrder::kGroups], single[GroupOrder::kGroups];
  for (int g = 0; g < groups; ++g) by_size[g] = g;
  std::sort(by_size, by_size + groups, [&](int g, int h) {
    return sums.largest[g] != sums.largest[h] ? sums.largest[g] > sums.largest[h] : g < h;
  });
  int pairs = 0, singles = 0;
  for (int i = 0; i < groups; ++i) {
    const int g = by_size[i];
    if (g < 0) continue;
    int j = i + 1;
    while (j < groups && (by_size[j] < 0 || !fits(sums, g, by_size[j]))) ++j;
    if (j == groups) {
      single[singles++] = g;
      continue;
    }
    order.group[2 * pairs] = static_cast<std::uint8_t>(g);
    order.group[2 * pairs + 1] = static_cast<std::uint8_t>(by_size[j]);
    by_size[j] = -1;
    ++pairs;
  }
  order.pairs = static_cast<std::uint8_t>(pairs);
  for (int i = 0; i < singles; ++i)
    order.group[2 * pairs + i] = static_cast<std::uint8_t>(single[i]);
  std::fill(order.group + groups, order.group + GroupOrder::kGroups, std::uint8_t{0});
}

}  // namespace

DenseWeight::DenseWeight(const std::uint8_t* data, std::int64_t k, std::int64_t n,
                         std::int64_t k_stride, std::int64_t n_stride, std::uint8_t flip,
                         Orders orders)
    : Weight(n, k) {
  packed_ = AlignedBuffer(static_cast<std::size_t>(end(orders)));
  for (std::int64_t p = 0; p < panels(); ++p) {
    if (p % 16 == 15) interruption_point();
    pack_panel(data, p, k_stride, n_stride, flip);
  }
  for (std::int64_t p = 0; orders == Orders::kWith && p < panels(); p += 2) {
    interruption_point();
    order_groups(p);
  }
  std::memset(at<std::uint8_t>(panels() * panel_stride()), 0,
              static_cast<std::size_t>(slack_bytes()));
}

DenseWeight::DenseWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k)
    : Weight(n, k, std::move(packed)) {
  require(nbytes() == static_cast<std::size_t>(end(Orders::kWith)),
          "packed: expected as many bytes as a dense weight of this shape has");
  for (std::int64_t i = 0; i < order_count(); ++i) {
    const GroupOrder& order = at<GroupOrder>(orders_begin())[i];
    const std::int64_t left = k_groups() - i % orders_stride() * GroupOrder::kGroups;
    const std::int64_t groups = std::min<std::int64_t>(GroupOrder::kGroups, left);
    const auto inside = [&](std::uint8_t group) { return group < groups; };
    require(2 * order.pairs <= groups && std::all_of(order.group, std::end(order.group), inside),
            "packed: expected orders of the groups that there are");
  }
}

void DenseWeight::pack_panel(const std::uint8_t* data, std::int64_t p, std::int64_t k_stride,
                             std::int64_t n_stride, std::uint8_t flip) {
  const std::int64_t width = std::min<std::int64_t>(kPanelWidth, n() - p * kPanelWidth);
  auto* out = at<std::int8_t>(p * panel_stride());
  std::uint32_t sums[kPanelWidth] = {};
  for (std::int64_t g = 0; g < k_groups(); ++g) {
    const std::int64_t count = std::min<std::int64_t>(kGroup, k() - g * kGroup);
    const std::uint32_t flip4 = 0x01010101u * flip;
    std::uint32_t group[kPanelWidth] = {};
    const std::uint8_t* first = data + p * kPanelWidth * n_stride + g * kGroup * k_stride;
    if (n_stride == 1 && width == kPanelWidth && count == kGroup) {
      interleave(first, k_stride, group);
    } else {
      for (std::int64_t j = 0; j < width; ++j) {
        group[j] = gather4(first + j * n_stride, k_stride, count);
      }
    }
    for (std::int64_t j = 0; j < width; ++j) group[j] ^= flip4;
    if (count < kGroup && flip != 0) {  // padding is zero, not a flipped zero
      for (std::int64_t j = 0; j < width; ++j) {
        std::memset(reinterpret_cast<std::uint8_t*>(&group[j]) + count, 0,
                    static_cast<std::size_t>(kGroup - count));
      }
    }
    std::memcpy(out + g * 64, group, 64);
    for (int j = 0; j < kPanelWidth; ++j) {
      const std::int8_t* code = out + g * 64 + 4 * j;
      sums[j] += static_cast<std::uint32_t>(code[0] + code[1] + code[2] + code[3]);
    }
  }
  std::memcpy(at<std::int32_t>(code_bytes()) + p * kPanelWidth, sums,
              static_cast<std::size_t>(width) * sizeof(std::int32_t));
}

void DenseWeight::order_groups(std::int64_t p) {
  const int both = p + 1 < panels() ? 2 : 1;
  const auto sums = std::make_unique<LaneSums>();  // 8 KiB: too much for small stacks
  for (std::int64_t i = 0; i < orders_stride(); ++i) {
    const std::int64_t first = i * GroupOrder::kGroups;
    const std::int64_t left = std::min<std::int64_t>(GroupOrder::kGroups, k_groups() - first);
    const int groups = static_cast<int>(left);
    sum_lanes(panel(p) + first * 64, panel_stride(), both, groups, *sums);
    pair_groups(*sums, groups, at<GroupOrder>(orders_begin())[p / 2 * orders_stride() + i]);
  }
}

void DenseWeight::unpack(std::int8_t* out) const {
  for (std::int64_t n = 0; n < this->n(); ++n) {
    if (n % kPanelWidth == 0) interruption_point();
    const std::int8_t* column = panel(n / kPanelWidth) + n % kPanelWidth * kGroup;
    std::int8_t* row = out + n * k();
    for (std::int64_t g = 0; g < k_groups(); ++g) {
      const std::int64_t count = std::min<std::int64_t>(kGroup, k() - g * kGroup);
      std::memcpy(row + g * kGroup, column + g * 64, static_cast<std::size_t>(count));
    }
  }
}

FormatCost DenseWeight::cost(const std::int8_t*, std::int64_t n, std::int64_t k, IsaMask) {
  const std::int64_t groups = ceil_div(n, kPanelWidth) * ceil_div(k, kGroup);
  return {groups, groups * kPanelWidth * kGroup};
}

Schedule DenseWeight::schedule(std::int64_t m, IsaMask mask) const {
  const GemmS8Row& kernel = select<GemmS8Args>(mask, m);
  Schedule schedule = {};
  schedule.rows = m;
  schedule.mask = mask;
  schedule.work = checked_mul(n(), k());
  schedule.form = kernel.form;
  schedule.row_unit = std::max(kernel.mr, kernel.m_align);
  schedule.block_rows = kernel.block_rows;
  const bool parts = part_of_k(m, kernel, k()) < padded_k(k());
  schedule.panels_at_once = parts ? kPanelsWithParts : panels();
  return schedule;
}

void DenseWeight::multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                           std::int64_t p, std::int64_t panels, std::int32_t* sums,
                           std::int64_t stride) const {
  const GemmS8Row& kernel = select<GemmS8Args>(schedule.mask, schedule.rows);
  const std::int64_t part = part_of_k(schedule.rows, kernel, k());
  GemmS8Args args;
  args.a_stride = block.stride;
  args.a_abs_offset = block.abs_offset;
  args.b_panel_stride = panel_stride();
  args.b_orders_stride = orders_stride();
  args.c = sums;
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  args.panels_behind = static_cast<std::int32_t>(this->panels() - p - panels);
  std::int64_t k0 = 0;
  do {  // once even for k = 0, which writes the zeros
    args.a = block.codes + k0;
    args.b = panel(p) + k0 * kPanelWidth;
    if (orders(p) != nullptr) args.b_orders = orders(p) + k0 / kOrderK;
    args.k_groups = static_cast<std::int32_t>(std::min(part / kGroup, k_groups() - k0 / kGroup));
    args.accumulate = k0 > 0;
    kernel.run(args);
    k0 += part;
  } while (k0 < k());
}

}  // namespace octavo
