// SPDX-License-Identifier: Apache-2.0
#include "kernels/transpose_s8/xmm.h"

namespace octavo {

void transpose_s8_8x16_avx2(const TransposeS8Args& args) noexcept { transpose(args); }

}  // namespace octavo
