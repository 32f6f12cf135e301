// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/dot_peak/ymm.h"

namespace octavo {

void dot_peak_s8s8_sse41(const DotPeakArgs& args) noexcept { dot_peak<2>(args); }

}  // namespace octavo
