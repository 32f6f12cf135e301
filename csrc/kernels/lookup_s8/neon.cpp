// SPDX-License-Identifier: Apache-2.0
// lookup_s8 by tbl and tbx, each over a quarter of the table, four registers.
#include "kernels/common/neon.h"
#include "kernels/lookup_s8/kernel.h"

namespace octavo {

void lookup_s8_neon(const LookupS8Args& args) noexcept {
  uint8x16x4_t quarter[4];
  for (int i = 0; i < 4; ++i) {
    for (int k = 0; k < 4; ++k) {
      quarter[i].val[k] = vld1q_u8((const uint8_t*)args.table + 64 * i + 16 * k);
    }
  }
  int64_t i = 0;
  for (; i + 16 <= args.n; i += 16) {
    uint8x16_t place = veorq_u8(vld1q_u8((const uint8_t*)args.x + i), vdupq_n_u8(0x80));
    uint8x16_t y = vqtbl4q_u8(quarter[0], place);
    for (int k = 1; k < 4; ++k) {
      place = vsubq_u8(place, vdupq_n_u8(64));
      y = vqtbx4q_u8(y, quarter[k], place);
    }
    vst1q_u8((uint8_t*)args.out + i, y);
  }
  for (; i < args.n; ++i) args.out[i] = args.table[args.x[i] + 128];
}

}  // namespace octavo
