// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"
#include "kernels/quantize_linear/generic.h"

namespace octavo {

void quantize_linear_f32_avx2(const QuantizeLinearArgs& args) noexcept {
  quantize_linear_generic(args);
}

}  // namespace octavo
