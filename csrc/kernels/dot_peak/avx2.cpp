// SPDX-License-Identifier: Apache-2.0
#include "kernels/dot_peak/ymm.h"

namespace octavo {

void dot_peak_s8s8_avx2(const DotPeakArgs& args) noexcept { dot_peak<4>(args); }

}  // namespace octavo
