// SPDX-License-Identifier: Apache-2.0
#include "kernels/expand_s8/kernel.h"

namespace octavo {

void expand_s8_1x64_scalar(const ExpandS8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    const int8_t* value = args.b.value + args.b.first_value[p * args.b.first_stride];
    int8_t* out = args.out + p * args.out_stride;
    for (int g = 0; g < args.groups; ++g) {
      uint64_t mask = args.b.mask[p * args.b.mask_stride + g];
      for (int i = 0; i < 64; ++i, mask >>= 1) {
        const int bit = (int)(mask & 1);
        out[64 * g + i] = (int8_t)(bit * *value);
        value += bit;
      }
    }
  }
}

}  // namespace octavo
