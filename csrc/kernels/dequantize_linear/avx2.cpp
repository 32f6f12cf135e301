// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"
#include "kernels/dequantize_linear/generic.h"

namespace octavo {

void dequantize_linear_f32_avx2(const DequantizeLinearArgs& args) noexcept {
  dequantize_linear_generic(args);
}

}  // namespace octavo
