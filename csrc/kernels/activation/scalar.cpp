// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_scalar.h"

#include "kernels/activation/generic.h"

namespace octavo {

void activation_f32_scalar(const ActivationArgs& args) noexcept {
  with_activation<ActivationRun>(args.activation, args);
}

}  // namespace octavo
