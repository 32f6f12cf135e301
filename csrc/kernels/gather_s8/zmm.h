// SPDX-License-Identifier: Apache-2.0
// gather_s8 with zmm registers: a step is one vector. A tier's file adds how a Step picks codes out
// of a window, and how many rows share a step.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/gather_s8/kernel.h"

namespace octavo {
namespace {

// Bytes ahead, as in ymm.h.
constexpr int64_t kAhead = 4096;

// The 64 indices of a narrow step, a byte each.
static inline __m512i narrow_index(const uint8_t* p) {
  const __m256i both = _mm256_loadu_si256((const __m256i*)p), half = _mm256_set1_epi8(15);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), half);
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_and_si256(both, half)), high, 1);
}

template <class Step, int Rows>
static inline void panel(const GatherS8Args& args, int p, int m0) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  __m512i sum[Rows];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) sum[i] = _mm512_setzero_si512();
  const uint32_t end = args.b.first_step[p + 1];
  for (uint32_t t = args.b.first_step[p]; t < end; ++t) {
    const uint8_t* step = args.b.step + t * Step::kBytes;
    _mm_prefetch((const char*)(step + kAhead), _MM_HINT_T0);
    _mm_prefetch((const char*)(step + kAhead + 64), _MM_HINT_T0);
    const Step indices(step + 64);
    const uint8_t* window = a + args.b.window[t];
    const __m512i values = _mm512_loadu_si512(step);
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], indices.pick(window + i * args.a_stride), values);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    _mm512_storeu_si512(args.c + (m0 + i) * args.c_stride + 16 * p, sum[i]);
  }
}

}  // namespace
}  // namespace octavo
