// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_neon.h"

#include "kernels/depthwise_s8/neon.h"

namespace octavo {

void depthwise_s8_neon(const DepthwiseS8Args& args) noexcept { depthwise(args); }

}  // namespace octavo
