// SPDX-License-Identifier: Apache-2.0
// Kernel family broadcast_bsr4x1_s8: rows of codes times an int8 weight of which whole blocks (4
// outputs by 1 input, or single weights) are zero, exact into int32.
//
//   c[m][n] = (add ? c[m][n] : 0) + sum over the blocks of column n of a[m][k] * b[k][n]
//
// A block row is `outputs` columns, 4 or 1. Only blocks that hold a code other than zero are there
// (weights/bsr.h), four of them to a unit; the last unit of a block row is filled up with zeros at
// an index that exists:
//
//   code, unit t:      | n0: k0 k1 k2 k3 | n1: k0 k1 k2 k3 | ...      4 * outputs bytes
//   index[4 * t ...]   | k0 k1 k2 k3 |
//
// Block row s has units first[s] to first[s + 1]. Where it is four columns, the first paired[s], an
// even number, come in twos that may be added up in int16: for each column, |k0| + |k1| of both
// is at most 255, and so is |k2| + |k3|. negative_sum has one per column: the sum of |code| over
// the negative codes.
//
// A unit is broadcast over the rows of a tile (transpose_s8), whose codes at one k lie side by
// side:
//
//   tile[rows * k ...]   | m=0 | m=1 | ... | m=rows-1 |
//
// `rows` is what the kernel's row in kernels.inc names (most_rows); rows from m on may hold
// anything. Or it is 1, as is m then: one row of codes as it is. A tile is in the form that the row
// names: kS8, or kU8, whose shift by 128 the caller undoes with the column sums. c is written for m
// rows and whole panels of 16 columns; the columns of the last panel that are none have no units,
// or zeros in them. Sums are exact while they fit int32, and wrap beyond.
#pragma once
#include <stdint.h>

#include "kernels/common/bsr_panels.h"
#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct BroadcastBsr4x1S8Args {
  BsrPanels b;
  const uint8_t* tile;
  int64_t rows;  // of the tile
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;         // 1 to the kernel's most rows
  bool add;
};

template <>
struct KernelColumns<BroadcastBsr4x1S8Args> : PlainColumns {
  int most_rows;            // of a tile
  int fours_rows;           // from so many rows on a tile pays with block rows of four,
  int ones_rows;            // and with block rows of one
  ActivationEncoding form;  // of the codes
};
using BroadcastBsr4x1S8Row = KernelRow<BroadcastBsr4x1S8Args>;

}  // namespace octavo
