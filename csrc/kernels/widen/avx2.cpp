// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"
#include "kernels/widen/generic.h"

namespace octavo {

void widen_f32_avx2(const WidenArgs& args) noexcept { widen_generic(args); }

}  // namespace octavo
