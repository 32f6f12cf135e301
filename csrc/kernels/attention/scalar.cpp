// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_scalar.h"

#include "kernels/attention/generic.h"

namespace octavo {

void attention_f32_scalar(const AttentionArgs& args) noexcept { attention_generic(args); }

}  // namespace octavo
