// SPDX-License-Identifier: Apache-2.0
// Registers: 4 rows x 4 = 16 sums, 4 of b, 1 of a.
#include "kernels/common/dot4_neon_dotprod.h"

#include "kernels/gemm_bsr16x4_s8/neon.h"

namespace octavo {

void gemm_bsr16x4_s8s8s32_4x16x4_neon_dotprod(const GemmBsr16x4S8Args& args) noexcept {
  all_panels<4>(args);
}

}  // namespace octavo
