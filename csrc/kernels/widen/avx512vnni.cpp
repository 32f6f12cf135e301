// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx512.h"
#include "kernels/widen/generic.h"

namespace octavo {

void widen_f32_avx512vnni(const WidenArgs& args) noexcept { widen_generic(args); }

}  // namespace octavo
