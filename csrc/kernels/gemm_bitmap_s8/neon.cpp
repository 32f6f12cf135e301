// SPDX-License-Identifier: Apache-2.0
// Registers: 2 rows x 4 x 2 = 16 sums, 4 of b, 1 of a, 2 of products.
#include "kernels/common/dot4_neon.h"

#include "kernels/gemm_bitmap_s8/neon.h"

namespace octavo {

void gemm_bitmap_s8s8s32_2x16x4_neon(const GemmBitmapS8Args& args) noexcept { all_panels<2>(args); }

}  // namespace octavo
