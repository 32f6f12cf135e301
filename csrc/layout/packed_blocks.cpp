// SPDX-License-Identifier: Apache-2.0
#include "layout/packed_blocks.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "layout/column_sums.h"

namespace octavo {
namespace {

constexpr int kBlockBytes = PackedBlocks::kPanelWidth * PackedBlocks::kGroup;

// Group g of the panel that starts at column n0, as a block; false where all of it is zero.
bool take_block(const std::int8_t* codes, std::int64_t n, std::int64_t k, std::int64_t n0,
                std::int64_t g, std::int8_t* block) {
  const std::int64_t width = std::min<std::int64_t>(PackedBlocks::kPanelWidth, n - n0);
  const std::int64_t k0 = g * PackedBlocks::kGroup;
  const auto bytes = static_cast<std::size_t>(std::min<std::int64_t>(PackedBlocks::kGroup, k - k0));
  std::uint32_t four[PackedBlocks::kPanelWidth] = {}, any = 0;
  for (std::int64_t j = 0; j < width; ++j) {
    std::memcpy(&four[j], codes + (n0 + j) * k + k0, bytes);
    any |= four[j];
  }
  std::memcpy(block, four, kBlockBytes);
  return any != 0;
}

// Calls each(group, block) for every block of a panel that is there.
template <class Each>
void walk_panel(const std::int8_t* codes, std::int64_t n, std::int64_t k, std::int64_t p,
                Each each) {
  std::int8_t block[kBlockBytes];
  for (std::int64_t g = 0; g * PackedBlocks::kGroup < k; ++g) {
    if (take_block(codes, n, k, p * PackedBlocks::kPanelWidth, g, block)) each(g, block);
  }
}

}  // namespace

PackedBlocks::Offsets PackedBlocks::offsets() const {
  Offsets at;
  at.first_block = kBlockBytes * blocks_;
  at.negative_sum = at.first_block + 4 * (panels() + 1);
  at.col_sum = at.negative_sum + 4 * kPanelWidth * panels();
  at.group = at.col_sum + 4 * n_;
  at.end = at.group + 2 * blocks_;
  return at;
}

PackedBlocks::PackedBlocks(const std::int8_t* codes, std::int64_t n, std::int64_t k)
    : n_(n), k_(k), blocks_(0), tiles_(0) {
  for (std::int64_t p = 0; p < panels(); ++p) {
    std::int64_t tile = -1;
    walk_panel(codes, n, k, p, [&](std::int64_t g, const std::int8_t*) {
      ++blocks_;
      tiles_ += g / BlockPanels::kTileGroups != tile;
      tile = g / BlockPanels::kTileGroups;
    });
  }
  if (blocks_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 blocks that are not zero");
  }
  buffer_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  auto* first_block = part<std::uint32_t>(offsets().first_block);
  auto* group = part<std::uint16_t>(offsets().group);
  auto* code = part<std::int8_t>(0);
  std::int64_t t = 0;
  for (std::int64_t p = 0; p < panels(); ++p) {
    first_block[p] = static_cast<std::uint32_t>(t);
    walk_panel(codes, n, k, p, [&](std::int64_t g, const std::int8_t* block) {
      group[t] = static_cast<std::uint16_t>(g);
      std::memcpy(code + kBlockBytes * t, block, kBlockBytes);
      ++t;
    });
  }
  first_block[panels()] = static_cast<std::uint32_t>(t);
  auto* negative_sum = part<std::int32_t>(offsets().negative_sum);
  std::fill(negative_sum, negative_sum + kPanelWidth * panels(), 0);
  sum_columns(codes, n, k, part<std::int32_t>(offsets().col_sum), negative_sum);
}

BlockPanels PackedBlocks::stretch(std::int64_t p, std::int64_t panels) const {
  const Offsets at = offsets();
  return {part<std::uint32_t>(at.first_block) + p,
          part<std::int32_t>(at.negative_sum) + kPanelWidth * p, part<std::uint16_t>(at.group),
          part<std::int8_t>(0), static_cast<std::int32_t>(panels)};
}

void PackedBlocks::unpack(std::int8_t* out) const {
  std::fill(out, out + n_ * k_, std::int8_t{0});
  const BlockPanels all = stretch(0, panels());
  for (std::int64_t n = 0; n < n_; ++n) {
    const std::int64_t p = n / kPanelWidth;
    for (std::int64_t t = all.first_block[p]; t < all.first_block[p + 1]; ++t) {
      const std::int64_t k0 = std::int64_t{kGroup} * all.group[t];
      const std::int8_t* four = all.code + kBlockBytes * t + kGroup * (n % kPanelWidth);
      std::memcpy(out + n * k_ + k0, four,
                  static_cast<std::size_t>(std::min<std::int64_t>(kGroup, k_ - k0)));
    }
  }
}

}  // namespace octavo
