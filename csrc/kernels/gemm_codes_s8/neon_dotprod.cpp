// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_neon_dotprod.h"

#include "kernels/gemm_codes_s8/neon.h"

namespace octavo {

void gemm_codes_s8_4x16x4_neon_dotprod(const GemmCodesS8Args& args) noexcept { gemm_codes(args); }

}  // namespace octavo
