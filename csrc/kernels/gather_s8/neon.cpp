// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_neon.h"

#include "kernels/gather_s8/neon.h"

namespace octavo {

void gather_s8s8s32_2x16x4_neon(const GatherS8Args& args) noexcept { gather(args); }

}  // namespace octavo
