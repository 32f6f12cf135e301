// SPDX-License-Identifier: Apache-2.0
// Registers: 4 columns x 2 x 2 = 16 sums, 2 of groups, 4 of codes, 2 of products.
#include "kernels/common/dot4_neon.h"

#include "kernels/broadcast_bsr4x1_s8/neon.h"

namespace octavo {

void broadcast_bsr4x1_s8s8s32_32x4x4_neon(const BroadcastBsr4x1S8Args& args) noexcept {
  broadcast_bsr4x1<2>(args);
}

}  // namespace octavo
