// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/depthwise_s8/ymm.h"

namespace octavo {

void depthwise_s8_sse41(const DepthwiseS8Args& args) noexcept { depthwise(args); }

}  // namespace octavo
