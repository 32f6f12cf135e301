// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/dot4_neon_dotprod.h"

#include "kernels/depthwise_s8/neon.h"

namespace octavo {

void depthwise_s8_neon_dotprod(const DepthwiseS8Args& args) noexcept { depthwise(args); }

}  // namespace octavo
