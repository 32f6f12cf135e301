// SPDX-License-Identifier: Apache-2.0
// Registers: 4 rows x 4 = 16 sums, 4 of b, 1 of a.
#include "kernels/common/dot4_neon_dotprod.h"

#include "kernels/gemm_bitmap_s8/neon.h"

namespace octavo {

void gemm_bitmap_s8s8s32_4x16x4_neon_dotprod(const GemmBitmapS8Args& args) noexcept {
  all_panels<4>(args);
}

}  // namespace octavo
