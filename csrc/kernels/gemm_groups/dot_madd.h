// SPDX-License-Identifier: Apache-2.0
// Products added without a dot instruction: pairs in int16, as many as have room (kernel.h), and
// then twos of those in int32.
#pragma once
#include "kernels/gemm_groups/ymm.h"

namespace octavo {
namespace {

static inline __m256i twos(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

template <int Inputs>
struct Dot {
  static constexpr int kInputs = Inputs;
  static __m256i begin(__m256i) { return _mm256_setzero_si256(); }
  static __m256i add(__m256i part, __m256i w, __m256i x) {
    return _mm256_add_epi16(part, _mm256_maddubs_epi16(w, x));
  }
  static __m256i end(__m256i sum, __m256i part) { return _mm256_add_epi32(sum, twos(part)); }
};

// Codes of 8 bits less 128: magnitudes times the row's codes with their signs.
struct SignedDot {
  static constexpr int kInputs = 32;
  static __m256i begin(__m256i sum) { return sum; }
  static __m256i add(__m256i part, __m256i w, __m256i x) {
    const __m256i v = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(x, v));
    return _mm256_add_epi32(part, twos(pairs));
  }
  static __m256i end(__m256i, __m256i part) { return part; }
};

template <int Rows>
static inline void gemm_madd(const GemmGroupsArgs& args) {
  gemm<Dot<32>, Dot<16>, SignedDot, Rows, Rows>(args);
}

}  // namespace
}  // namespace octavo
