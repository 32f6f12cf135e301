// SPDX-License-Identifier: Apache-2.0
// gemm_codes_s8 for AVX-VNNI. Registers: 12 sums, 2 of weights, a row's codes.
#include "kernels/common/four_bytes.h"
#include "kernels/common/lanes16_avx2.h"

namespace octavo {
namespace {

constexpr int kRows = 6, kPanels = 1;

using Sum = I16;
using Codes = __m256i;
using Weights = I16;

static inline I16 start_of(I16 offset, I16 weight_sum, I16) {
  return sub_i(offset, mul_i(weight_sum, set1_i(128)));
}
static inline Sum first_sum(I16 start) { return start; }
static inline Weights weights_of(const int8_t* b) { return load_i((const int32_t*)b); }
static inline Codes codes_of(const int8_t* a) {
  return _mm256_xor_si256(_mm256_set1_epi32(four_bytes(a)), _mm256_set1_epi8((char)0x80));
}
static inline Sum add_products(Sum sum, Codes x, const Weights& w) {
  return {_mm256_dpbusd_avx_epi32(sum.lo, x, w.lo), _mm256_dpbusd_avx_epi32(sum.hi, x, w.hi)};
}
static inline I16 finished(Sum sum, I16) { return sum; }

}  // namespace
}  // namespace octavo

#include "kernels/gemm_codes_s8/blocks.h"

namespace octavo {

void gemm_codes_s8_6x16x4_avxvnni(const GemmCodesS8Args& args) noexcept { gemm_codes(args); }

}  // namespace octavo
