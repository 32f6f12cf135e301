// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_neon_dotprod.h"

#include "kernels/broadcast_bsr1x4_s8/neon.h"

namespace octavo {

void broadcast_bsr1x4_s8s8s32_32x1x4_neon_dotprod(const BroadcastBsr1x4S8Args& args) noexcept {
  broadcast_bsr1x4(args);
}

}  // namespace octavo
