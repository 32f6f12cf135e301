// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm_codes_s8/ymm.h"

namespace octavo {

void gemm_codes_s8_4x16x4_avx2(const GemmCodesS8Args& args) noexcept { gemm_codes(args); }

}  // namespace octavo
