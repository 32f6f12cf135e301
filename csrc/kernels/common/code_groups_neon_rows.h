// SPDX-License-Identifier: Apache-2.0
// What all code_groups_neon*.h share.
#pragma once
#include "kernels/common/lanes16_neon.h"

namespace {

static inline int32x4_t largest_of_four(const I16* rows) {
  int32x4_t m[4];
  for (int r = 0; r < 4; ++r) {
    m[r] = vmaxq_s32(vmaxq_s32(rows[r].q0, rows[r].q1), vmaxq_s32(rows[r].q2, rows[r].q3));
  }
  return vpmaxq_s32(vpmaxq_s32(m[0], m[1]), vpmaxq_s32(m[2], m[3]));
}
static inline I16 largest_of_rows(const I16* rows) {
  return {largest_of_four(rows), largest_of_four(rows + 4), largest_of_four(rows + 8),
          largest_of_four(rows + 12)};
}

}  // namespace
