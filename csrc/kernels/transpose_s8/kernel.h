// SPDX-License-Identifier: Apache-2.0
// Kernel family transpose_s8: rows of codes to columns of a tile, for broadcast_windowed_s8 and
// broadcast_bsr4x1_s8.
//
//   tile[rows * k + column + m] = a[m][k]     for m rows and k codes
//
// k is a multiple of 64, column one of 8. Where m is none, what the tile holds for the missing rows
// up to the next multiple of 8 is unspecified.
#pragma once
#include <stdint.h>

namespace octavo {

struct TransposeS8Args {
  const uint8_t* a;
  int64_t a_stride;  // bytes
  uint8_t* tile;
  int64_t rows;  // of the tile
  int32_t column;
  int32_t m;
  int32_t k;
};

}  // namespace octavo
