// SPDX-License-Identifier: Apache-2.0
#include "kernels/expand_s8/expand_neon.h"

namespace octavo {

void expand_s8_1x64_neon(const ExpandS8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    const int8_t* value = args.b.value + args.b.first_value[p * args.b.first_stride];
    const uint64_t* mask = args.b.mask + p * args.b.mask_stride;
    int8_t* out = args.out + p * args.out_stride;
    for (int g = 0; g < args.groups; ++g) {
      int8x16_t codes[4];
      value = expand_group(mask[g], value, codes);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) vst1q_s8(out + 64 * g + 16 * j, codes[j]);
    }
  }
}

}  // namespace octavo
