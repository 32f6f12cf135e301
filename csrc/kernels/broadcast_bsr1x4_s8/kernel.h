// SPDX-License-Identifier: Apache-2.0
// Kernel family broadcast_bsr1x4_s8: rows of codes times an int8 weight of which whole blocks (1
// output by 4 inputs) are zero, exact into int32.
//
//   c[m][n] = sum over the blocks of column n of a[m][k] * b[k][n]    (int32, wrapping modulo 2^32)
//
// Only blocks that hold a code other than zero are there (weights/bsr.h), those of a column
// one after another, in an order of their own:
//
//   code, block t:  | k0 k1 k2 k3 |
//   index[t]        its first k / 4
//
// Column n has blocks first[n] to first[n + 1]. The first paired[n] of them, an even
// number, come in twos that may be added up in int16: |k0| + |k1| of both is at most 255, and so is
// |k2| + |k3|. negative_sum has one per column: the sum of |code| over the negative codes.
//
// Each block is broadcast over the rows, whose codes lie side by side in a tile, four by four:
//
//   tile[4 * rows * g ...]   | m=0: k0 k1 k2 k3 | m=1: k0 k1 k2 k3 | ... | m=rows-1: ... |
//
// for each group g of 4 of the padded k; `rows` is m rounded up to the kernel's lanes. A tile is in
// the form that the kernel's row in kernels.inc names: kS8, or kU8, whose shift by 128 the caller
// undoes with the column sums. Rows from m on may hold anything. c is written for m
// rows and whole panels of 16 columns; the columns of the last panel that are none have no blocks.
// Sums are exact while they fit int32, and wrap beyond.
#pragma once
#include <stdint.h>

#include "kernels/common/bsr_panels.h"
#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct BroadcastBsr1x4S8Args {
  BsrPanels b;
  const uint8_t* tile;
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;         // 1 to the kernel's most rows
};

template <>
struct KernelColumns<BroadcastBsr1x4S8Args> : PlainColumns {
  int most_rows;            // of a full tile
  int lanes;                // rows of a vector: a tile has a multiple of them
  ActivationEncoding form;  // of the tile
};
using BroadcastBsr1x4S8Row = KernelRow<BroadcastBsr1x4S8Args>;

}  // namespace octavo
