// SPDX-License-Identifier: Apache-2.0
#include "layout/packed_b.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace octavo {
namespace {

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

// |b| summed over each of the 32 lanes of two codes that a 16-bit dot product adds, per group.
struct LaneSums {
  std::uint16_t lane[GroupOrder::kGroups][32];
  std::uint16_t largest[GroupOrder::kGroups];
};

void sum_lanes(const std::int8_t* panel, int groups, LaneSums& sums) {
  for (int g = 0; g < groups; ++g) {
    const std::int8_t* codes = panel + 64 * g;
    sums.largest[g] = 0;
    for (int i = 0; i < 32; ++i) {
      const int sum = std::abs(codes[2 * i]) + std::abs(codes[2 * i + 1]);
      sums.lane[g][i] = static_cast<std::uint16_t>(sum);
      sums.largest[g] = std::max(sums.largest[g], sums.lane[g][i]);
    }
  }
}

bool fits(const LaneSums& sums, int g, int h) {
  int largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, sums.lane[g][i] + sums.lane[h][i]);
  return largest <= 255;
}

// Greedy: the group with the largest weights takes the largest partner that fits. On normally
// distributed weights (K = 384) this pairs 99.9% of the groups; neighbours fit in 62% of the cases.
void pair_groups(const std::int8_t* panel, int groups, GroupOrder& order) {
  LaneSums sums;
  sum_lanes(panel, groups, sums);
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

PackedB::PackedB(const std::uint8_t* data, std::int64_t k, std::int64_t n, std::int64_t k_stride,
                 std::int64_t n_stride, std::uint8_t flip)
    : k_(k),
      n_(n),
      codes_(static_cast<std::size_t>(code_bytes())),
      col_sum_(static_cast<std::size_t>(n) * sizeof(std::int32_t)),
      orders_(static_cast<std::size_t>(panels() * orders_stride()) * sizeof(GroupOrder)) {
  for (std::int64_t p = 0; p < panels(); ++p) {
    pack_panel(data, p, k_stride, n_stride, flip);
    order_groups(p);
  }
  std::memset(codes_.as<std::uint8_t>() + panels() * panel_stride(), 0,
              static_cast<std::size_t>(slack_bytes()));
}

void PackedB::pack_panel(const std::uint8_t* data, std::int64_t p, std::int64_t k_stride,
                         std::int64_t n_stride, std::uint8_t flip) {
  const std::int64_t width = std::min<std::int64_t>(kPanelWidth, n_ - p * kPanelWidth);
  std::int8_t* out = codes_.as<std::int8_t>() + p * panel_stride();
  std::uint32_t sums[kPanelWidth] = {};
  bool minus128 = false;
  for (std::int64_t g = 0; g < k_groups(); ++g) {
    const std::int64_t count = std::min<std::int64_t>(kGroup, k_ - g * kGroup);
    const std::uint32_t flip4 = 0x01010101u * flip;
    std::uint32_t group[kPanelWidth] = {};
    for (std::int64_t j = 0; j < width; ++j) {
      const std::uint8_t* p0 = data + (p * kPanelWidth + j) * n_stride + g * kGroup * k_stride;
      group[j] = gather4(p0, k_stride, count) ^ flip4;
    }
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
      minus128 |= code[0] == -128 || code[1] == -128 || code[2] == -128 || code[3] == -128;
    }
  }
  std::memcpy(col_sum_.as<std::int32_t>() + p * kPanelWidth, sums,
              static_cast<std::size_t>(width) * sizeof(std::int32_t));
  has_minus128_ = has_minus128_ || minus128;
}

void PackedB::order_groups(std::int64_t p) {
  for (std::int64_t i = 0; i < orders_stride(); ++i) {
    const std::int64_t first = i * GroupOrder::kGroups;
    const std::int64_t left = std::min<std::int64_t>(GroupOrder::kGroups, k_groups() - first);
    const int groups = static_cast<int>(left);
    pair_groups(panel(p) + first * 64, groups, orders_.as<GroupOrder>()[p * orders_stride() + i]);
  }
}

void PackedB::unpack(std::int8_t* out) const {
  for (std::int64_t n = 0; n < n_; ++n) {
    const std::int8_t* column = panel(n / kPanelWidth) + n % kPanelWidth * kGroup;
    std::int8_t* row = out + n * k_;
    for (std::int64_t g = 0; g < k_groups(); ++g) {
      const std::int64_t count = std::min<std::int64_t>(kGroup, k_ - g * kGroup);
      std::memcpy(row + g * kGroup, column + g * 64, static_cast<std::size_t>(count));
    }
  }
}

}  // namespace octavo
