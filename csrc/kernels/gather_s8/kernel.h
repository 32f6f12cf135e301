// SPDX-License-Identifier: Apache-2.0
// Kernel family gather_s8: few rows of codes times a sparse int8 weight, exact into int32.
//
//   c[m][n] = sum over the slots of column n of a[m][k(slot)] * value(slot)    (int32, wrapping)
//
// The weight's non-zeros lie in slots (weights/windowed.h). A panel of 16 columns is a sequence
// of steps; a step gives each column 4 slots and looks at one window of `width` neighbouring k, at
// any offset. What is multiplied is a shuffle of the window: no memory is read per non-zero.
//
//   step, 128 bytes (kWide) or 96 (kNarrow):
//     value, 64    | n=0: s0 s1 s2 s3 | n=1: s0 s1 s2 s3 | ... | n=15: s0 s1 s2 s3 |
//     index, 64    kWide: k - window of each slot, in the same order, below 64
//            32    kNarrow: 4 bits each; byte i holds slot i in its low half and slot 32 + i in its
//                  high half
//   window[t]      first k of step t's window; windows end within the padded k
//
// Steps of a panel follow each other in ascending order of their windows. A slot that is not
// needed has value 0 and index 0. Panel p has steps first_step[p] to first_step[p + 1].
//
// negative_sum has 16 per panel: the sum of |value| over the negative values of a column.
//
// a has rows of codes, zero-padded to a multiple of 64 bytes, in the form that the kernel's row in
// kernels.inc names: kS8, or kU8, whose shift by 128 the caller undoes with the column sums.
// c is written for m rows and whole panels. Sums are exact while they fit int32, and wrap beyond.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

enum class SlotIndex : uint8_t { kNarrow, kWide };

// A stretch of panels of a WindowedWeight.
struct WindowedPanels {
  const uint32_t* first_step;   // of each panel, and the end
  const int32_t* negative_sum;  // of each column
  const uint16_t* window;       // of step 0 of the whole weight
  const uint8_t* step;          // step 0 of the whole weight
  int32_t panels;
  SlotIndex kind;
};

constexpr int64_t step_bytes(SlotIndex kind) { return kind == SlotIndex::kWide ? 128 : 96; }

struct GatherS8Args {
  WindowedPanels b;
  const uint8_t* a;
  int64_t a_stride;  // bytes
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;
};

template <>
struct KernelColumns<GatherS8Args> : PlainColumns {
  ActivationEncoding form;  // of a
  int broadcast_rows;       // from so many rows on, broadcast_windowed_s8 is faster
};
using GatherS8Row = KernelRow<GatherS8Args>;

}  // namespace octavo
