// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_s8: exact int8 matrix product into int32.
//
//   c[m][n] (+)= sum over k of a[m][k] * b[k][n]          (int32, wrapping modulo 2^32)
//
// b is packed once (weights/dense.h): panels of 16 columns, groups of 4 along k, so that 64
// consecutive bytes are what one dot instruction of any tier wants:
//
//   panel p, group g:   | n=0: k0 k1 k2 k3 | n=1: k0 k1 k2 k3 | ... | n=15: k0 k1 k2 k3 |
//
// and group g+1 follows 64 bytes later, panel p+1 `b_panel_stride` bytes later. The same bytes are
// a 16x64 B tile of AMX when 16 groups are read at a stride of 64.
//
// a has one row of codes per output row, in the form the kernel's row in kernels.inc names:
//   kS8      signed codes
//   kSignAbs a byte of sign per code, 255 where it is negative and 0 elsewhere, and their absolute
//            values (as uint8) `a_abs_offset` bytes later
//   kU8      codes + 128 as uint8; the caller undoes the shift with b's column sums
//   kS8Eights signed codes of eight rows together. Of 64 along k they have 8 x 8 strings of eight,
//            which lie transposed: string j of row i where string i of row j would be
// Rows are zero-padded to a multiple of 64 bytes (code byte 0, whatever the form), so bytes of b
// behind the last group (another panel, or the slack behind the last one) multiply with zero.
//
// b_orders, which may be null, has one GroupOrder per two panels (the last may be alone) and block
// of 64 groups: an order of the block's groups in which the first `pairs` twos may be added as
// int16. In such a two, g and h, every column satisfies, with r(b) = max(-b, b + 1),
// r(b[g][0]) + r(b[g][1]) + r(b[h][0]) + r(b[h][1]) <= 255, and likewise for 2 and 3, so that
// products of |a| <= 128 with b or ~b add up to at most 32640 in magnitude.
//
// Tails: c is written for m rounded up to `m_align` rows and for whole panels; a must be readable
// for as many rows. Bound: the caller keeps k * max|a| * max|b| < 2^31 when it needs the exact sum;
// sums above it wrap, never saturate.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"

namespace octavo {

struct GroupOrder {
  static constexpr int kGroups = 64;
  uint8_t pairs;
  uint8_t group[kGroups];  // within the block; the last block of a panel may use fewer
};

struct GemmS8Args {
  const uint8_t* a;
  int64_t a_stride;  // bytes
  int64_t a_abs_offset;
  const int8_t* b;
  int64_t b_panel_stride;  // bytes
  const GroupOrder* b_orders = nullptr;
  int64_t b_orders_stride = 0;  // orders from one two of panels to the next
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;
  int32_t panels;
  int32_t panels_behind = 0;  // of b, whose bytes kernels may prefetch
  int32_t k_groups;
  bool accumulate;
};

enum class ActivationEncoding : uint8_t { kS8, kSignAbs, kU8, kS8Eights };

template <>
struct KernelColumns<GemmS8Args> : PlainColumns {
  int mr;                   // rows per block
  int m_align;              // rows that c and a are padded to
  int min_m;                // smallest m it is meant for
  int block_rows;           // rows of a block that read one panel after another
  int k_part;               // codes of k at a time, where rows meet a panel again and again
  ActivationEncoding form;  // of a

  bool fits(int64_t rows) const { return rows >= min_m; }
};
using GemmS8Row = KernelRow<GemmS8Args>;

}  // namespace octavo
