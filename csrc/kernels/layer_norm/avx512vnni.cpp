// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx512.h"
#include "kernels/layer_norm/generic.h"

namespace octavo {

void layer_norm_f32_avx512vnni(const LayerNormArgs& args) noexcept { layer_norm_generic(args); }

}  // namespace octavo
