// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx512.h"
#include "kernels/softmax/generic.h"

namespace octavo {

void softmax_f32_avx512vnni(const SoftmaxArgs& args) noexcept { softmax_generic(args); }

}  // namespace octavo
