// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_scalar.h"
#include "kernels/quantize_linear/generic.h"

namespace octavo {

void quantize_linear_f32_scalar(const QuantizeLinearArgs& args) noexcept {
  quantize_linear_generic(args);
}

}  // namespace octavo
