// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_bsr16x4_s8: codes times an int8 weight of which whole blocks are zero, exact
// into int32.
//
//   c[m][n] = sum over the blocks of n's panel of a[m][k] * b[k][n]    (int32, wrapping modulo
//   2^32)
//
// A block is what gemm_s8 calls a group of a panel: 16 columns by 4 along k, 64 bytes, in the same
// order. Only blocks that hold a code other than zero are there (weights/bsr.h):
//
//   block t:    | n=0: k0 k1 k2 k3 | n=1: k0 k1 k2 k3 | ... | n=15: k0 k1 k2 k3 |
//   index[t]    its first k / 4
//
// Panel p has blocks first[p] to first[p + 1], their groups ascending. Where all 16
// groups of a tile (k from a multiple of 64 on) are there, their blocks are a 16x64 B tile of AMX.
//
// negative_sum has 16 per panel: the sum of |code| over the negative codes of a column.
//
// a has rows of codes, zero-padded to a multiple of 64 bytes, in the form that the kernel's row in
// kernels.inc names: kS8, or kU8, whose shift by 128 the caller undoes with the column sums.
// c is written for m rounded up to `m_align` rows and for whole panels; a must be readable for as
// many rows. Sums are exact while they fit int32, and wrap beyond.
#pragma once
#include <stdint.h>

#include "kernels/common/bsr_panels.h"
#include "kernels/common/columns.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct GemmBsr16x4S8Args {
  BsrPanels b;
  const uint8_t* a;
  int64_t a_stride;  // bytes
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;
  uint8_t* scratch;  // the kernel's scratch_bytes, aligned to 64
};

template <>
struct KernelColumns<GemmBsr16x4S8Args> : PlainColumns {
  int mr;                   // rows per block
  int m_align;              // rows that c and a are padded to
  int min_m;                // smallest m it is meant for
  int min_fill;             // fewest blocks in a tile, on average
  int scratch_bytes;        // that a call uses
  ActivationEncoding form;  // of a

  bool fits(int64_t rows, int64_t blocks, int64_t tiles) const {
    return rows >= min_m && blocks >= min_fill * tiles;
  }
};
using GemmBsr16x4S8Row = KernelRow<GemmBsr16x4S8Args>;

}  // namespace octavo
