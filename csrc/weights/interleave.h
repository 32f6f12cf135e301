// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "weights/weight.h"

namespace octavo {

// Four rows of sixteen neighbouring codes, as sixteen groups of four: 64 bytes of a panel.
inline void interleave(const std::uint8_t* rows, std::int64_t stride, std::uint32_t* groups) {
  for (int j = 0; j < Weight::kPanelWidth; ++j) {
    const std::uint32_t low = rows[j] | static_cast<std::uint32_t>(rows[stride + j]) << 8;
    const std::uint32_t high =
        rows[2 * stride + j] | static_cast<std::uint32_t>(rows[3 * stride + j]) << 8;
    groups[j] = low | high << 16;
  }
}

}  // namespace octavo
