// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_scalar.h"
#include "kernels/dequantize_linear/generic.h"

namespace octavo {

void dequantize_linear_f32_scalar(const DequantizeLinearArgs& args) noexcept {
  dequantize_linear_generic(args);
}

}  // namespace octavo
