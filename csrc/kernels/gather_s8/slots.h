// SPDX-License-Identifier: Apache-2.0
// One column of one step, for kernels that go column by column.
#pragma once
#include <stdint.h>
#include <string.h>

#include "kernels/gather_s8/kernel.h"

namespace octavo {
namespace {

// The indices of column n's four slots, a byte each, slot 0 lowest.
static inline uint32_t column_index(const uint8_t* step, SlotIndex kind, int n) {
  uint32_t four;
  if (kind == SlotIndex::kWide) {
    memcpy(&four, step + 64 + 4 * n, 4);
    return four;
  }
  memcpy(&four, step + 64 + 4 * (n % 8), 4);
  return (n < 8 ? four : four >> 4) & 0x0f0f0f0fu;
}

}  // namespace
}  // namespace octavo
