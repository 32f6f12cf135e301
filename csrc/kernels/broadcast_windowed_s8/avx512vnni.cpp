// SPDX-License-Identifier: Apache-2.0
// broadcast_windowed_s8 for AVX-512 VNNI, on ymm registers: its unpacks bind, and 256-bit ones run
// on two ports where 512-bit ones have one.
#include "kernels/common/dot4_avx512vnni.h"

#include "kernels/broadcast_windowed_s8/ymm.h"

namespace octavo {

void broadcast_windowed_u8s8s32_32x1x4_avx512vnni(const BroadcastWindowedS8Args& args) noexcept {
  broadcast(args);
}

}  // namespace octavo
