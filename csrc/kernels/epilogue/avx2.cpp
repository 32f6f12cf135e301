// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx2.h"
#include "kernels/epilogue/generic.h"

namespace octavo {

void epilogue_s32f32_avx2(const EpilogueArgs& args) noexcept {
  with_activation<EpilogueRun>(args.activation, args);
}

}  // namespace octavo
