// SPDX-License-Identifier: Apache-2.0
// Kernel family spread_strips_s8: rows of codes times an int8 weight of which whole strips (4
// outputs by 1 input, or single weights) are zero, exact into int32.
//
//   c[m][n] = (add ? c[m][n] : 0) + sum over the strips of column n of a[m][k] * b[k][n]
//
// Columns come in sets of `set`, 4 or 1. Only strips that hold a code other than zero are there
// (weights/bsr.h), four of them to a square; the last square of a set is filled up with
// zeros at a place that exists:
//
//   code, square t:    | n0: k0 k1 k2 k3 | n1: k0 k1 k2 k3 | ...      4 * set bytes
//   place[4 * t ...]   | k0 k1 k2 k3 |
//
// Set s has squares first_square[s] to first_square[s + 1]. Of sets of four, the first paired[s],
// an even number, come in twos that may be added up in int16: for each column, |k0| + |k1| of both
// is at most 255, and so is |k2| + |k3|. negative_sum has one per column: the sum of |code| over
// the negative codes.
//
// A square is spread over the rows of a tile (transpose_s8), whose codes at one k lie side by side:
//
//   tile[rows * k ...]   | m=0 | m=1 | ... | m=rows-1 |
//
// `rows` is what the kernel's row in kernels.inc names (most_rows); rows from m on may hold
// anything. Or it is 1, as is m then: one row of codes as it is. A tile is in the form that the row
// names: kS8, or kU8, whose shift by 128 the caller undoes with the column sums. Codes of b are
// above -128. c is written for m rows and whole panels of 16 columns; the columns of the last panel
// that are none have no squares, or zeros in them. Sums are exact while they fit int32, and wrap
// beyond.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

// A stretch of panels of a Bsr4x1 or Bsr1x1.
struct StripPanels {
  const uint32_t* first_square;  // of each set, and the end
  const uint32_t* paired;        // of each set; null with sets of one
  const int32_t* negative_sum;   // of each column
  const uint16_t* place;         // of square 0 of the whole weight
  const int8_t* code;            // of square 0 of the whole weight
  int32_t panels;
  int32_t set;
};

struct SpreadStripsS8Args {
  StripPanels b;
  const uint8_t* tile;
  int64_t rows;  // of the tile
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;         // 1 to the kernel's most rows
  bool add;
};

template <>
struct KernelColumns<SpreadStripsS8Args> : PlainColumns {
  int most_rows;   // of a tile
  int fours_rows;  // from so many rows on a tile pays with sets of four,
  int ones_rows;   // and with sets of one
  AForm form;      // of the codes
};
using SpreadStripsS8Row = KernelRow<SpreadStripsS8Args>;

}  // namespace octavo
