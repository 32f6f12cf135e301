// SPDX-License-Identifier: Apache-2.0
// gemm_codes_s8 in portable C++.
#include "kernels/common/lanes16_scalar.h"

namespace octavo {
namespace {

constexpr int kRows = 1, kPanels = 1;

using Sum = I16;
using Codes = const int8_t*;
using Weights = const int8_t*;

static inline I16 start_of(I16 offset, I16, I16) { return offset; }
static inline Sum first_sum(I16 start) { return start; }
static inline Weights weights_of(const int8_t* b) { return b; }
static inline Codes codes_of(const int8_t* a) { return a; }
static inline Sum add_products(Sum sum, Codes x, Weights w) {
  for (int i = 0; i < 16; ++i, w += 4) {
    const int products = x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
    sum.v[i] = (int32_t)((uint32_t)sum.v[i] + (uint32_t)products);
  }
  return sum;
}
static inline I16 finished(const Sum& sum, const I16&) { return sum; }

}  // namespace
}  // namespace octavo

#include "kernels/gemm_codes_s8/blocks.h"

namespace octavo {

void gemm_codes_s8_1x16x4_scalar(const GemmCodesS8Args& args) noexcept { gemm_codes(args); }

}  // namespace octavo
