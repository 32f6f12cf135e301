// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_neon.h"

#include "kernels/gemm_codes_s8/neon.h"

namespace octavo {

void gemm_codes_s8_2x16x4_neon(const GemmCodesS8Args& args) noexcept { gemm_codes(args); }

}  // namespace octavo
