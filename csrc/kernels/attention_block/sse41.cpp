// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/code_groups_sse41.h"

#include "kernels/attention_block/tile16.h"

namespace octavo {

void attention_block_s32_sse41(const AttentionBlockArgs& args) noexcept { attention_block(args); }

}  // namespace octavo
