// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/gemm_s8/ymm.h"

namespace octavo {

void gemm_s8s8s32_1x32x4_sse41(const GemmS8Args& args) noexcept { gemm<1>(args); }

}  // namespace octavo
