// SPDX-License-Identifier: Apache-2.0
#include "layout/packed_bitmap.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace octavo {

PackedBitmap::Offsets PackedBitmap::offsets() const {
  Offsets at;
  at.first_value = 8 * k_groups() * panels();
  at.col_sum = at.first_value + 4 * (blocks() + 1) * panels();
  at.value = at.col_sum + 4 * n_;
  at.end = at.value + non_zeros_ + kSlack;
  return at;
}

PackedBitmap::PackedBitmap(const std::int8_t* codes, std::int64_t n, std::int64_t k)
    : n_(n), k_(k), non_zeros_(n * k - std::count(codes, codes + n * k, std::int8_t{0})) {
  if (non_zeros_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 that are not zero");
  }
  buffer_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  std::int64_t at = 0;
  for (std::int64_t p = 0; p < panels(); ++p) at = pack_panel(codes, p, at);
  std::memset(part<std::int8_t>(offsets().value + at), 0, kSlack);
}

std::int64_t PackedBitmap::pack_panel(const std::int8_t* codes, std::int64_t p, std::int64_t at) {
  const std::int64_t n0 = p * kPanelWidth;
  const std::int64_t width = std::min<std::int64_t>(kPanelWidth, n_ - n0);
  auto* mask = part<std::uint64_t>(0) + p * k_groups();
  auto* first_value = part<std::uint32_t>(offsets().first_value) + p * (blocks() + 1);
  auto* value = part<std::int8_t>(offsets().value);
  std::uint32_t sums[kPanelWidth] = {};
  for (std::int64_t g = 0; g < k_groups(); ++g) {
    if (g % kBlockGroups == 0) first_value[g / kBlockGroups] = static_cast<std::uint32_t>(at);
    const std::int64_t count = std::min<std::int64_t>(kGroup, k_ - g * kGroup);
    mask[g] = 0;
    for (std::int64_t j = 0; j < width; ++j) {
      const std::int8_t* four = codes + (n0 + j) * k_ + g * kGroup;
      for (std::int64_t i = 0; i < count; ++i) {
        if (four[i] == 0) continue;
        mask[g] |= std::uint64_t{1} << (kGroup * j + i);
        value[at++] = four[i];
        sums[j] += static_cast<std::uint32_t>(four[i]);
      }
    }
  }
  first_value[blocks()] = static_cast<std::uint32_t>(at);
  std::memcpy(part<std::int32_t>(offsets().col_sum) + n0, sums,
              static_cast<std::size_t>(4 * width));
  return at;
}

BitmapPanels PackedBitmap::stretch(std::int64_t p, std::int64_t panels, std::int64_t block) const {
  const Offsets at = offsets();
  BitmapPanels b;
  b.mask = part<std::uint64_t>(0) + p * k_groups() + block * kBlockGroups;
  b.mask_stride = k_groups();
  b.first_value = part<std::uint32_t>(at.first_value) + p * (blocks() + 1) + block;
  b.first_stride = blocks() + 1;
  b.value = part<std::int8_t>(at.value);
  b.panels = static_cast<std::int32_t>(panels);
  return b;
}

void PackedBitmap::unpack(std::int8_t* out) const {
  std::fill(out, out + n_ * k_, std::int8_t{0});
  const auto* value = part<std::int8_t>(offsets().value);
  const auto* mask = part<std::uint64_t>(0);
  for (std::int64_t p = 0; p < panels(); ++p) {
    for (std::int64_t g = 0; g < k_groups(); ++g) {
      std::uint64_t bits = *mask++;
      for (std::int64_t i = 0; bits != 0; ++i, bits >>= 1) {
        if ((bits & 1) == 0) continue;
        const std::int64_t n = p * kPanelWidth + i / kGroup, k = g * kGroup + i % kGroup;
        out[n * k_ + k] = *value++;
      }
    }
  }
}

}  // namespace octavo
