// SPDX-License-Identifier: Apache-2.0
// gemm_codes_s8 with ymm registers and no dot product of bytes: magnitudes of weights times codes,
// complemented where a weight is negative (kernels/common/dot4_avx2.h). Registers: 8 sums, 4 of
// weights, a row's codes.
#pragma once
#include "kernels/common/dot4_avx2.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/lanes16_avx2.h"

namespace octavo {
namespace {

constexpr int kRows = 4, kPanels = 1;

using Sum = I16;
using Codes = __m256i;
struct Weights {
  Slots32 lo, hi;
};

static inline I16 start_of(I16 offset, I16, I16 negative_sum) {
  return add_i(offset, negative_sum);
}
static inline Sum first_sum(I16 start) { return start; }
static inline Weights weights_of(const int8_t* b) {
  const I16 w = load_i((const int32_t*)b);
  return {slots32(w.lo), slots32(w.hi)};
}
static inline Codes codes_of(const int8_t* a) { return _mm256_set1_epi32(four_bytes(a)); }
static inline Sum add_products(Sum sum, Codes x, const Weights& w) {
  return {dot4(sum.lo, x, w.lo), dot4(sum.hi, x, w.hi)};
}
static inline I16 finished(Sum sum, I16) { return sum; }

}  // namespace
}  // namespace octavo

#include "kernels/gemm_codes_s8/blocks.h"
