// SPDX-License-Identifier: Apache-2.0
// Registers: 4 sums, 4 of two quads, 1 of ones, 1 of zeros, 4 temporaries.
#include "kernels/common/dot4_avx2.h"
#include "kernels/spread_quads_s8/ymm.h"

namespace octavo {

void spread_quads_s8s8s32_32x1x4_avx2(const SpreadQuadsS8Args& args) noexcept {
  spread_quads(args);
}

}  // namespace octavo
