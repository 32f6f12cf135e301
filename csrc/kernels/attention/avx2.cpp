// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"

#include "kernels/attention/generic.h"

namespace octavo {

void attention_f32_avx2(const AttentionArgs& args) noexcept { attention_generic(args); }

}  // namespace octavo
