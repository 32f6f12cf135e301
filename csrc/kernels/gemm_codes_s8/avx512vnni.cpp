// SPDX-License-Identifier: Apache-2.0
// gemm_codes_s8 for AVX-512 VNNI. Registers: 24 sums, 3 of weights, a row's codes, what makes them
// unsigned.
#include "kernels/common/four_bytes.h"
#include "kernels/common/lanes16_avx512vnni.h"

namespace octavo {
namespace {

constexpr int kRows = 8, kPanels = 3;

using Sum = __m512i;
using Codes = __m512i;
using Weights = __m512i;

static inline I16 start_of(I16 offset, I16 weight_sum, I16) {
  return {_mm512_sub_epi32(offset.v, _mm512_slli_epi32(weight_sum.v, 7))};
}
static inline Sum first_sum(I16 start) { return start.v; }
static inline Weights weights_of(const int8_t* b) { return _mm512_loadu_si512(b); }
static inline Codes codes_of(const int8_t* a) {
  return _mm512_xor_si512(_mm512_set1_epi32(four_bytes(a)), _mm512_set1_epi8((char)0x80));
}
static inline Sum add_products(Sum sum, Codes x, Weights w) {
  return _mm512_dpbusd_epi32(sum, x, w);
}
static inline I16 finished(Sum sum, I16) { return {sum}; }

}  // namespace
}  // namespace octavo

#include "kernels/gemm_codes_s8/blocks.h"

namespace octavo {

void gemm_codes_s8_8x48x4_avx512vnni(const GemmCodesS8Args& args) noexcept { gemm_codes(args); }

}  // namespace octavo
