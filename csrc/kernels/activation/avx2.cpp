// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"

#include "kernels/activation/generic.h"

namespace octavo {

void activation_f32_avx2(const ActivationArgs& args) noexcept {
  with_activation<ActivationRun>(args.activation, args);
}

}  // namespace octavo
