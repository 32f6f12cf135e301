// SPDX-License-Identifier: Apache-2.0
// Kernel family broadcast_windowed_s8: up to 32 rows of codes times a sparse int8 weight, exact
// into int32.
//
// The same product as gather_s8, of the same slots. There a step looks at one row's window; here
// each slot's value is broadcast over 32 rows, whose codes lie side by side in a tile
// (transpose_s8):
//
//   tile[32 * k ...]   | m=0 | m=1 | ... | m=31 |      for each k of the padded rows
//
// A tile is in the form that the kernel's row names. Rows from m on may hold anything; c is written
// for m rows and whole panels.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/gather_s8/kernel.h"

namespace octavo {

struct BroadcastWindowedS8Args {
  WindowedPanels b;
  const uint8_t* tile;
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;         // 1 to 32
};

// A tile is made of the codes that gather_s8 is given, so the two are chosen together.
template <>
struct KernelColumns<BroadcastWindowedS8Args> : PlainColumns {
  ActivationEncoding form;  // of the tile

  bool fits() const = delete;
  bool reads_codes_of(const KernelColumns<GatherS8Args>& gather) const {
    return form == gather.form;
  }
};
using BroadcastWindowedS8Row = KernelRow<BroadcastWindowedS8Args>;

}  // namespace octavo
