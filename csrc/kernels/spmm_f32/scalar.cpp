// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_scalar.h"

namespace {

static inline void gather_slice(const float* x, const uint8_t* column, const float* value,
                                int count, float* sum) {
  for (int j = 0; j < count; ++j) {
    for (int r = 0; r < 8; ++r) sum[r] = fma1(value[8 * j + r], x[column[8 * j + r]], sum[r]);
  }
}

}  // namespace

#include "kernels/spmm_f32/generic.h"

namespace octavo {

void spmm_f32_f32_scalar(const SpmmF32Args& args) noexcept { spmm_generic(args); }

}  // namespace octavo
