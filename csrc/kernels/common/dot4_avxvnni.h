// SPDX-License-Identifier: Apache-2.0
// Products of uint8 codes a with slots b, four neighbours to a sum (see dot4_avx2.h).
#pragma once
#include "kernels/common/x86.h"

namespace {

using Slots32 = __m256i;

static inline Slots32 slots32(__m256i b) { return b; }

static inline __m256i dot4(__m256i sum, __m256i a, Slots32 b) {
  return _mm256_dpbusd_avx_epi32(sum, a, b);
}

static inline __m256i first_sums(__m256i) { return _mm256_setzero_si256(); }

}  // namespace

#include "kernels/common/dot4_pair_vnni.h"
