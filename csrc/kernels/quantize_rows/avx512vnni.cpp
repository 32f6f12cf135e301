// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx512.h"
#include "kernels/quantize_rows/generic.h"

namespace octavo {

void quantize_rows_f32_avx512vnni(const QuantizeRowsArgs& args) noexcept {
  quantize_rows_generic(args);
}

}  // namespace octavo
