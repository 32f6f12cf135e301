// SPDX-License-Identifier: Apache-2.0
// gemm_s4 in portable C++, written so that a compiler can vectorize the sixteen columns.
#include "kernels/common/fused.h"
#include "kernels/gemm_s4/kernel.h"

namespace octavo {
namespace {

// Adds 8 inputs to the sums of sixteen columns.
void add_eight(const int8_t* a, const uint8_t* b, int32_t* sum) {
  for (int n = 0; n < 16; ++n) {
    const uint8_t* four = b + 4 * n;
    int32_t s = 0;
    for (int i = 0; i < 4; ++i) {
      s += a[i] * ((four[i] & 15) - 8) + a[4 + i] * ((four[i] >> 4) - 8);
    }
    sum[n] += s;
  }
}

void panel_row(const GemmS4Args& args, int p, int m) {
  const int8_t* a = (const int8_t*)args.a + m * args.a_stride;
  const uint8_t* b = args.b + p * args.b_panel_stride;
  const float* b_scale = args.b_scale + p * args.b_scale_stride;
  const float* a_scale = args.a_scale + m;
  float c[16] = {};
  for (int first = 0; first < args.k; first += args.group) {
    const int end = args.k - first < args.group ? args.k : first + args.group;
    int32_t sum[16] = {};
    for (int k = first; k < end; k += 8) add_eight(a + k, b + 8 * (int64_t)k, sum);
    for (int n = 0; n < 16; ++n) c[n] = fma1((float)sum[n], b_scale[n] * *a_scale, c[n]);
    b_scale += 16;
    a_scale += args.a_scale_stride;
  }
  for (int n = 0; n < 16; ++n) args.c[m * args.c_stride + 16 * p + n] = c[n];
}

}  // namespace

void gemm_s8s4f32_1x16x8_scalar(const GemmS4Args& args) noexcept {
  for (int p = 0; p < args.panels; ++p) {
    for (int m = 0; m < args.m; ++m) panel_row(args, p, m);
  }
}

}  // namespace octavo
