// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/common/dot4_avx2.h"
#include "kernels/gather_s8/ymm.h"

namespace octavo {

void gather_s8s8s32_4x16x4_sse41(const GatherS8Args& args) noexcept { gather(args); }

}  // namespace octavo
