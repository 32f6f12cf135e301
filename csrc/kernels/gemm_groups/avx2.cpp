// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"

#include "kernels/gemm_groups/dot_madd.h"

namespace octavo {

void gemm_groups_s8f32_2x16x8_avx2(const GemmGroupsArgs& args) noexcept { gemm_madd<2>(args); }

}  // namespace octavo
