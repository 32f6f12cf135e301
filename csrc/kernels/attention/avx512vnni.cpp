// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx512.h"

#include "kernels/attention/generic.h"

namespace octavo {

void attention_f32_avx512vnni(const AttentionArgs& args) noexcept { attention_generic(args); }

}  // namespace octavo
