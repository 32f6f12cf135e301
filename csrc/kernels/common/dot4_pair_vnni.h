// SPDX-License-Identifier: Apache-2.0
// The end of dot4_avxvnni.h and dot4_avx512vnni.h.
#pragma once
#include "kernels/common/x86.h"

namespace {

// Two of them at once, each for a sum of its own: vpdpbusd has a latency of 4 to 5 cycles.
constexpr int kPairSums = 2;

static inline void dot4_pair(__m256i (&sum)[kPairSums], __m256i a0, Slots32 b0, __m256i a1,
                             Slots32 b1) {
  sum[0] = dot4(sum[0], a0, b0);
  sum[1] = dot4(sum[1], a1, b1);
}

}  // namespace
