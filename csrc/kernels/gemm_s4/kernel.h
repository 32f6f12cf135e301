// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_s4: rows of int8 codes times a weight of 4-bit codes, both with a scale for
// each group of inputs.
//
//   c[m][n] = 0;  for each group g of inputs, ascending:
//     s = sum over the inputs k of g of a[m][k] * b[k][n]                     (exact, int32)
//     c[m][n] = fma(float32(s), b_scale[g][n] * a_scale[g][m], c[m][n])       (float32)
//
// The product of the two scales is rounded to float32, then the multiply and add are one rounding.
// A group has 32, 64 or 128 inputs, the last of a row perhaps fewer.
//
// b (weights/int4.h) has panels of 16 columns. Each 8 inputs of a panel are 64 bytes, in which byte
// 4 n + i has the code of input i in its low half and that of input 4 + i in its high half, plus 8:
//
//   8 inputs of a panel:   | n=0: k0|k4 k1|k5 k2|k6 k3|k7 | n=1: ... | ... | n=15: ... |
//
// so that 64 bytes, less their high or their low halves, are what gemm_s8 calls two groups of a
// panel. Inputs behind k have the code 0. Groups of a panel follow each other, panels lie
// b_panel_stride bytes apart. b_scale has 16 floats per group of a panel, 0 for columns that are
// none.
//
// a has one row of signed codes per output row (ActivationEncoding::kS8), zero-padded to a multiple
// of 64 bytes whatever the group: a last group of 128 may end behind them. c is written for m rows
// and whole panels. Sums of a group are at most 128 * 8 * 128 = 2^17.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct GemmS4Args {
  const uint8_t* a;
  int64_t a_stride;  // bytes
  const float* a_scale;
  int64_t a_scale_stride;  // from group to group
  const uint8_t* b;
  int64_t b_panel_stride;  // bytes
  const float* b_scale;
  int64_t b_scale_stride;  // from panel to panel
  float* c;
  int64_t c_stride;  // elements
  int32_t m;
  int32_t panels;
  int32_t k;
  int32_t group;
};

using GemmS4Row = KernelRow<GemmS4Args>;

}  // namespace octavo
