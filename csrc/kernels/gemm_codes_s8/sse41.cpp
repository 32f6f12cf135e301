// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/gemm_codes_s8/ymm.h"

namespace octavo {

void gemm_codes_s8_4x16x4_sse41(const GemmCodesS8Args& args) noexcept { gemm_codes(args); }

}  // namespace octavo
