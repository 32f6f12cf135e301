// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/common/dot4_avx2.h"
#include "kernels/gemm_bsr16x4_s8/ymm.h"

namespace octavo {

void gemm_bsr16x4_s8s8s32_4x16x4_sse41(const GemmBsr16x4S8Args& args) noexcept {
  all_panels<4>(args);
}

}  // namespace octavo
