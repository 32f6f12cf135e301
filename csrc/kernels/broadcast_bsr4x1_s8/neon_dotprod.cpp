// SPDX-License-Identifier: Apache-2.0
// Registers: 4 columns x 4 = 16 sums, 4 of groups, 1 of codes, 4 temporaries.
#include "kernels/common/dot4_neon_dotprod.h"

#include "kernels/broadcast_bsr4x1_s8/neon.h"

namespace octavo {

void broadcast_bsr4x1_s8s8s32_32x4x4_neon_dotprod(const BroadcastBsr4x1S8Args& args) noexcept {
  broadcast_bsr4x1<4>(args);
}

}  // namespace octavo
