// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_avxvnni.h"
#include "kernels/spread_quads_s8/ymm.h"

namespace octavo {

void spread_quads_u8s8s32_32x1x4_avxvnni(const SpreadQuadsS8Args& args) noexcept {
  spread_quads(args);
}

}  // namespace octavo
