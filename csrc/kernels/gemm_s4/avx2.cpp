// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm_s4/dot_madd.h"

namespace octavo {

void gemm_s8s4f32_2x16x8_avx2(const GemmS4Args& args) noexcept { gemm<Dot, 2, 2>(args); }

}  // namespace octavo
