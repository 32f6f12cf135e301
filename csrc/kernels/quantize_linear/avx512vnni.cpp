// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx512.h"
#include "kernels/quantize_linear/generic.h"

namespace octavo {

void quantize_linear_f32_avx512vnni(const QuantizeLinearArgs& args) noexcept {
  quantize_linear_generic(args);
}

}  // namespace octavo
