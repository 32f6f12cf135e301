// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_s4: rows of int8 codes times a weight of 4-bit codes, both with a scale for
// each group of inputs.
//
//   c[m][n] = 0;  for each group g of inputs, at least one, ascending:
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
// of 64 bytes whatever the group: a last group of 128 may end behind them. a_base[g][m] is -8 times
// the sum of a group's codes in a row: a kernel that starts with it multiplies halves of bytes as
// they are, from 0 to 15. c is written for m rows and whole panels. Sums of a group are at most
// 128 * 15 * 128 < 2^18 on the way; in int16, of 16 inputs 16 * 15 * 128 = 30720.
//
// scratch has kUnpackedBytes where there are more rows than the kernel's mr: it then unpacks a part
// of a panel, or of some, once for all rows.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct GemmS4Args {
  const uint8_t* a;
  int64_t a_stride;  // bytes
  const float* a_scale;
  const int32_t* a_base;
  int64_t a_scale_stride;  // from group to group, of both
  const uint8_t* b;
  int64_t b_panel_stride;  // bytes
  const float* b_scale;
  int64_t b_scale_stride;  // from panel to panel
  uint8_t* scratch;
  float* c;
  int64_t c_stride;  // elements
  int32_t m;
  int32_t panels;
  int32_t k;
  int32_t group;
};

template <>
struct KernelColumns<GemmS4Args> : PlainColumns {
  int mr;          // rows per block
  int block_rows;  // rows that read one panel after another
};
using GemmS4Row = KernelRow<GemmS4Args>;

// Stays in L1 beside that part of the rows.
constexpr int kUnpackedBytes = 16384;

}  // namespace octavo
