// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_avx2.h"
#include "kernels/spread_strips_s8/ymm.h"

namespace octavo {

void spread_strips_s8s8s32_32x4x4_avx2(const SpreadStripsS8Args& args) noexcept {
  spread_strips<32>(args);
}

}  // namespace octavo
