// SPDX-License-Identifier: Apache-2.0
// gemm_bsr16x4_s8 with ymm registers; a tier's file includes its dot4_*.h first.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_bsr16x4_s8/kernel.h"

namespace octavo {
namespace {

// The first rows of a call wait for b; see gemm_s8/avx2.cpp.
constexpr int64_t kAhead = 4096;

static inline __m256i load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256((__m256i*)p, v); }
static inline __m256i broadcast4(const uint8_t* p) {
  return _mm256_castps_si256(_mm256_broadcast_ss((const float*)p));
}

template <int Rows>
static inline void panel(const GemmBsr16x4S8Args& args, int p, int m0) {
  const uint8_t* row[Rows];
  __m256i sum[Rows][2];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    row[i] = args.a + (m0 + i) * args.a_stride;
    sum[i][0] = first_sums(load(args.b.negative_sum + 16 * p));
    sum[i][1] = first_sums(load(args.b.negative_sum + 16 * p + 8));
  }
  const uint32_t first = args.b.first[p];
  const int8_t* code = args.b.code + 64 * (int64_t)first;
  const uint16_t* index = args.b.index + first;
  const uint16_t* const end = args.b.index + args.b.first[p + 1];
  for (; index != end; ++index) {
    if (m0 == 0) _mm_prefetch((const char*)(code + kAhead), _MM_HINT_T0);
    const Slots32 b0 = slots32(load(code)), b1 = slots32(load(code + 32));
    const int64_t at = 4 * (int64_t)*index;
    code += 64;
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const __m256i x = broadcast4(row[i] + at);
      sum[i][0] = dot4(sum[i][0], x, b0);
      sum[i][1] = dot4(sum[i][1], x, b1);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    int32_t* c = args.c + (m0 + i) * args.c_stride + 16 * p;
    store(c, sum[i][0]);
    store(c + 8, sum[i][1]);
  }
}

template <int Rows>
static inline void all_panels(const GemmBsr16x4S8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    int m = 0;
    for (; m + Rows <= args.m; m += Rows) panel<Rows>(args, p, m);
    for (; m + 2 <= args.m; m += 2) panel<2>(args, p, m);
    if (m < args.m) panel<1>(args, p, m);
  }
}

}  // namespace
}  // namespace octavo
