// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/code_groups_sse41.h"

#include "kernels/attention_codes/rows16.h"

namespace octavo {

void attention_codes_f32_sse41(const AttentionCodesArgs& args) noexcept { attention_codes(args); }

}  // namespace octavo
