// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_neon_dotprod.h"

#include "kernels/broadcast_windowed_s8/neon.h"

namespace octavo {

void broadcast_windowed_s8s8s32_32x1x4_neon_dotprod(const BroadcastWindowedS8Args& args) noexcept {
  broadcast(args);
}

}  // namespace octavo
