// SPDX-License-Identifier: Apache-2.0
// Products added without a dot instruction: pairs in int16, where 32 inputs, 16 a lane, have room
// (kernel.h), and then twos of those in int32.
#pragma once
#include "kernels/gemm_s4/ymm.h"

namespace octavo {
namespace {

struct Dot {
  static __m256i begin(__m256i) { return _mm256_setzero_si256(); }
  static __m256i add(__m256i part, __m256i w, __m256i x) {
    return _mm256_add_epi16(part, _mm256_maddubs_epi16(w, x));
  }
  static __m256i end(__m256i sum, __m256i part) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
  }
};

}  // namespace
}  // namespace octavo
