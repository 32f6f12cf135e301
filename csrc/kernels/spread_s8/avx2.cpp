// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_avx2.h"
#include "kernels/spread_s8/ymm.h"

namespace octavo {

void spread_s8s8s32_32x1x4_avx2(const SpreadS8Args& args) noexcept { spread(args); }

}  // namespace octavo
