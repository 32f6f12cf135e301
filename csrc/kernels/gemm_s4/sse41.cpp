// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/gemm_s4/dot_madd.h"

namespace octavo {

void gemm_s8s4f32_1x16x8_sse41(const GemmS4Args& args) noexcept { gemm<Dot, 1, 1>(args); }

}  // namespace octavo
