// SPDX-License-Identifier: Apache-2.0
// Kernel family spread_quads_s8: rows of codes times an int8 weight of which whole quads (1 output
// by 4 inputs) are zero, exact into int32.
//
//   c[m][n] = sum over the quads of column n of a[m][k] * b[k][n]    (int32, wrapping modulo 2^32)
//
// Only quads that hold a code other than zero are there (weights/bsr.h), those of a column
// one after another, in an order of their own:
//
//   code, quad t:   | k0 k1 k2 k3 |
//   group[t]        its first k / 4
//
// Column n has quads first_quad[n] to first_quad[n + 1]. The first paired[n] of them, an even
// number, come in twos that may be added up in int16: |k0| + |k1| of both is at most 255, and so is
// |k2| + |k3|. negative_sum has one per column: the sum of |code| over the negative codes.
//
// Each quad is spread over the rows, whose codes lie side by side in a tile, four by four:
//
//   tile[4 * rows * g ...]   | m=0: k0 k1 k2 k3 | m=1: k0 k1 k2 k3 | ... | m=rows-1: ... |
//
// for each group g of 4 of the padded k; `rows` is m rounded up to the kernel's lanes. A tile is in
// the form that the kernel's row in kernels.inc names: kS8, or kU8, whose shift by 128 the caller
// undoes with the column sums. Rows from m on may hold anything. Codes of b are above -128. c is
// written for m rows and whole panels of 16 columns; the columns of the last panel that are none
// have no quads. Sums are exact while they fit int32, and wrap beyond.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

// A stretch of panels of a Bsr1x4.
struct QuadPanels {
  const uint32_t* first_quad;   // of each column, and the end
  const uint32_t* paired;       // of each column
  const int32_t* negative_sum;  // of each column
  const uint16_t* group;        // of quad 0 of the whole weight
  const int8_t* code;           // of quad 0 of the whole weight
  int32_t panels;
};

struct SpreadQuadsS8Args {
  QuadPanels b;
  const uint8_t* tile;
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;         // 1 to the kernel's most rows
};

template <>
struct KernelColumns<SpreadQuadsS8Args> : PlainColumns {
  int most_rows;  // of a full tile
  int lanes;      // rows of a vector: a tile has a multiple of them
  AForm form;     // of the tile
};
using SpreadQuadsS8Row = KernelRow<SpreadQuadsS8Args>;

}  // namespace octavo
