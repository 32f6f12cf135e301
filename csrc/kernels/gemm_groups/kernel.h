// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_groups: rows of int8 codes times a weight of codes of 4, 5 or 8 bits, both
// with a scale for each group of inputs.
//
//   c[m][n] = 0, or what is there (accumulate);  for each group g of inputs, ascending:
//     s = a_base[g][m] + sum over the inputs k of g of a[m][k] * b[k][n]      (exact, int32)
//     c[m][n] = fma(float32(s), b_scale[g][n] * a_scale[g][m], c[m][n])       (float32)
//
// The product of the two scales is rounded to float32, then the multiply and add are one rounding.
// A group has 32, 64 or 128 inputs, the last of a row perhaps fewer; there is at least one.
//
// b (weights/grouped.h) has panels of 16 columns of unsigned codes: what a weight of signed ones
// adds to them, a_base takes back. As bytes, 8 inputs of a panel are 128, which gemm_s8 calls two
// groups of a panel; inputs behind k are any codes, since a is zero there:
//
//   inputs 0 to 3:   | n=0: k0 k1 k2 k3 | n=1: ... | ... | n=15: ... |     then inputs 4 to 7
//
// So lie codes of 8 bits. Of those of 4 bits the low halves of 64 bytes are the first 64 of these
// 128, the high halves the other 64. Those of 5 bits have their lowest four so, and in b_high 16
// bytes more, where bit t of byte j is the highest of the code that is byte 16 t + j of 128.
//
// Groups of a panel follow each other, panels lie b_panel_stride and b_high_stride bytes apart.
// b_scale has any numbers for columns that are none.
//
// a has one row of signed codes in [-127, 127] per output row (ActivationEncoding::kS8),
// zero-padded to a multiple of 64 bytes whatever the group: a last group of 128 may end behind
// them. c is written for m rows and whole panels. A kernel whose byte_offset is 128 multiplies
// codes of 8 bits less 128, so that they are signed, and a_base is for these.
//
// Sums in int16 have room for 16 products of 4 bits (16 * 15 * 127 = 30480), 8 of 5 bits (31496)
// and 2 of signed bytes (2 * 128 * 127 = 32512).
//
// scratch has kUnpackedBytes, but for 8 bits: where there are many rows, or 5 bits, a kernel
// unpacks a part of a panel, or of some, into bytes, once for all rows.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/common/group_numbers.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct GemmGroupsArgs {
  const uint8_t* a;
  int64_t a_stride;  // bytes
  const float* a_scale;
  const int32_t* a_base;
  int64_t a_scale_stride;  // from group to group, of both
  const uint8_t* b;
  int64_t b_panel_stride;  // bytes
  const uint8_t* b_high;   // of 5 bits
  int64_t b_high_stride;
  PanelNumbers b_scale;
  uint8_t* scratch;
  float* c;
  int64_t c_stride;  // elements
  int32_t m;
  int32_t panels;
  int32_t k;
  int32_t group;
  int32_t bits;
  bool accumulate;
};

template <>
struct KernelColumns<GemmGroupsArgs> : PlainColumns {
  int mr;           // rows per block
  int block_rows;   // rows that read one panel after another
  int byte_offset;  // what it takes from codes of 8 bits
};
using GemmGroupsRow = KernelRow<GemmGroupsArgs>;

// Stays in L1 beside that part of the rows.
constexpr int kUnpackedBytes = 16384;

}  // namespace octavo
