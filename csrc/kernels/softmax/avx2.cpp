// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"
#include "kernels/softmax/generic.h"

namespace octavo {

void softmax_f32_avx2(const SoftmaxArgs& args) noexcept { softmax_generic(args); }

}  // namespace octavo
