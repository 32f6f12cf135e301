// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_sse41.h"

#include "kernels/gemm_groups/dot_madd.h"

namespace octavo {

void gemm_groups_s8f32_1x16x8_sse41(const GemmGroupsArgs& args) noexcept { gemm_madd<1>(args); }

}  // namespace octavo
