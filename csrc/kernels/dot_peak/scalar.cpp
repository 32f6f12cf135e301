// SPDX-License-Identifier: Apache-2.0
#include "kernels/dot_peak/kernel.h"

namespace octavo {

void dot_peak_s8s8_scalar(const DotPeakArgs& args) noexcept {
  // One group of four codes times sixteen columns, as gemm_s8's scalar row does it.
  int8_t a[4] = {1, -2, 3, -4};
  int8_t b[64];
  uint32_t sum[16] = {};
  for (int i = 0; i < 64; ++i) b[i] = (int8_t)(i * 7 - 100);
  for (int64_t it = 0; it < args.iterations; ++it) {
    a[it & 3] = (int8_t)it;
    for (int n = 0; n < 16; ++n) {
      sum[n] += (uint32_t)(a[0] * b[4 * n] + a[1] * b[4 * n + 1] + a[2] * b[4 * n + 2] +
                           a[3] * b[4 * n + 3]);
    }
  }
  uint32_t total = 0;
  for (int n = 0; n < 16; ++n) total += sum[n];
  *args.sink = (int32_t)total;
  *args.operations = args.iterations * 64 * 2;
}

}  // namespace octavo
