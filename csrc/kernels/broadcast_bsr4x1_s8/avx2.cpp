// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_avx2.h"

#include "kernels/broadcast_bsr4x1_s8/ymm.h"

namespace octavo {

void broadcast_bsr4x1_s8s8s32_32x4x4_avx2(const BroadcastBsr4x1S8Args& args) noexcept {
  broadcast_bsr4x1<32>(args);
}

}  // namespace octavo
