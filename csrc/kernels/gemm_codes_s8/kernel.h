// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_codes_s8: a static int8 layer in one pass. Rows of codes, read where they lie,
// times the panels of gemm_s8, and codes of what comes out while sums are in registers.
//
//   s = offset[n] + sum of a[m][k] * b(k, n)
//   out[m][n] = the code of s, as requantize makes it (kernels/requantize/kernel.h)
//
// Rows of a are k_groups fours of codes; b is zero behind k. weight_sum and negative_sum belong to
// the columns of b: the sum of all, and that of the magnitudes of those below zero, both modulo
// 2^32; tiers that multiply codes + 128, or complements, undo it with them. Arrays over n, rows of
// a and rows of out may end exactly at their last element.
//
// Where k is small, sums take as long to write and to read again as to make. Where it is large,
// codes that were prepared for a tier's instructions pay: a row says for how many inputs it is
// meant.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"

namespace octavo {

struct GemmCodesS8Args {
  const int8_t* a;
  int64_t a_stride;  // bytes
  int32_t m;
  int32_t k_groups;
  const int8_t* b;         // panels of 16 columns (kernels/gemm_s8/kernel.h)
  int64_t b_panel_stride;  // bytes
  int32_t n;
  const int32_t* offset;        // n
  const int32_t* weight_sum;    // n
  const int32_t* negative_sum;  // n
  const float* multiplier;      // n
  float low, high;              // as requantize has them
  int32_t zero_point;
  int8_t* out;
  int64_t out_stride;  // elements
};

template <>
struct KernelColumns<GemmCodesS8Args> : PlainColumns {
  int64_t most_k;
};

}  // namespace octavo
