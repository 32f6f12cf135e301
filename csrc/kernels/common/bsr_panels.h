// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdint.h>

namespace octavo {

// A stretch of panels of a block-sparse weight (weights/bsr.h), in one part of its inputs.
struct BsrPanels {
  // Groups of a B tile of AMX.
  static constexpr int kTileGroups = 16;

  const uint32_t* first;        // unit of each block row, and the end
  const uint32_t* paired;       // units of each block row that come in twos; null where none may
  const int32_t* negative_sum;  // of each column: the sum of |code| over the negative codes
  const uint16_t* index;        // of unit 0 of the whole weight
  const int8_t* code;           // of unit 0 of the whole weight
  int32_t panels;
  int32_t outputs;  // of a block row
};

}  // namespace octavo
