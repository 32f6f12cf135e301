// SPDX-License-Identifier: Apache-2.0
// Kernel family group_minima: what minima of groups add to a product (gemm_groups).
//
//   c[m][n] = 0;  for each group g, ascending:  c[m][n] = fma(sums[m][g], minima[g][n], c[m][n])
//
// c is written for whole panels. Rows of sums end at their last element.
#pragma once
#include <stdint.h>

#include "kernels/common/group_numbers.h"

namespace octavo {

struct GroupMinimaArgs {
  const float* sums;
  int64_t sums_stride;  // elements
  PanelNumbers minima;
  float* c;
  int64_t c_stride;  // elements
  int32_t m;
  int32_t panels;
  int64_t groups;
};

}  // namespace octavo
