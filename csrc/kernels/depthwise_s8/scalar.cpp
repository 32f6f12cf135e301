// SPDX-License-Identifier: Apache-2.0
// depthwise_s8 in portable C++.
#include "kernels/common/lanes16_scalar.h"

namespace octavo {
namespace {

constexpr int kRowsOfUnit = 4, kOutputs = 1, kStrip = 1;

using Sum = I16;
using UnitWeights = const int8_t*;

static inline void interleave(const int8_t* const* p, uint8_t* x) {
  for (int i = 0; i < 64; ++i) x[i] = (uint8_t)p[i % 4][i / 4];
}

static inline I16 start_of(I16 offset, I16) { return offset; }
static inline UnitWeights weights_of(const int8_t* w, int u) { return w + 64 * u; }
static inline Sum first_sum(I16 start) { return start; }
static inline Sum add_products(Sum sum, const uint8_t* x, UnitWeights w) {
  for (int i = 0; i < 16; ++i) {
    int products = 0;
    for (int t = 4 * i; t < 4 * i + 4; ++t) products += (int8_t)x[t] * w[t];
    sum.v[i] = (int32_t)((uint32_t)sum.v[i] + (uint32_t)products);
  }
  return sum;
}
static inline I16 finished(const Sum& sum, const I16&) { return sum; }

}  // namespace
}  // namespace octavo

#include "kernels/depthwise_s8/strip.h"

namespace octavo {

void depthwise_s8_scalar(const DepthwiseS8Args& args) noexcept { depthwise(args); }

}  // namespace octavo
