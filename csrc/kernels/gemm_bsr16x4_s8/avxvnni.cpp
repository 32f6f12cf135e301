// SPDX-License-Identifier: Apache-2.0
// Registers: 6 rows x 2 = 12 sums, 2 of b, 1 of a.
#include "kernels/common/dot4_avxvnni.h"
#include "kernels/gemm_bsr16x4_s8/ymm.h"

namespace octavo {

void gemm_bsr16x4_u8s8s32_6x16x4_avxvnni(const GemmBsr16x4S8Args& args) noexcept {
  all_panels<6>(args);
}

}  // namespace octavo
