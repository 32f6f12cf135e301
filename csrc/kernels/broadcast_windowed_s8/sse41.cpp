// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/common/dot4_avx2.h"

#include "kernels/broadcast_windowed_s8/ymm.h"

namespace octavo {

void broadcast_windowed_s8s8s32_32x1x4_sse41(const BroadcastWindowedS8Args& args) noexcept {
  broadcast(args);
}

}  // namespace octavo
