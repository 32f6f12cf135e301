// SPDX-License-Identifier: Apache-2.0
// Kernel family expand_s8: a stretch of k of a bitmap weight as dense bytes for gemm_s8.
//
// The weight (weights/bitmap.h) has the order of a packed one: panels of 16 columns, groups
// of 4 along k. A group's 64 positions are one mask, lowest bit first; its codes that are not zero
// follow each other in the same order:
//
//   position of a group     | n=0: k0 k1 k2 k3 | n=1: k0 k1 k2 k3 | ... | n=15: k0 k1 k2 k3 |
//   mask[p * mask_stride + g]                          bit i: position i is not zero
//   value[first_value[p * first_stride + g / 64]...]   of groups g / 64 * 64 on, to the panel's end
//
// At least 64 bytes may be read from the place of any value, and from the end of the last one.
//
//   out[p * out_stride + 64 * g + i] = the code at position i of group g of panel p
//
// for all panels and `groups` groups from the first one of a block of 64; nothing else is written.
#pragma once
#include <stdint.h>

namespace octavo {

// A stretch of panels of a BitmapWeight, from the start of a block of groups on.
struct BitmapPanels {
  static constexpr int kBlockGroups = 64;
  const uint64_t* mask;
  int64_t mask_stride;          // from panel to panel
  const uint32_t* first_value;  // of each block, and of the panel's end
  int64_t first_stride;         // from panel to panel
  const int8_t* value;          // value 0 of the whole weight
  int32_t panels;
};

struct ExpandS8Args {
  BitmapPanels b;
  int8_t* out;
  int64_t out_stride;  // bytes
  int32_t groups;
};

}  // namespace octavo
