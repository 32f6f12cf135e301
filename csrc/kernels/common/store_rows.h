// SPDX-License-Identifier: Apache-2.0
// The way out of kernels whose sums are made column by column: broadcast_bsr1x4_s8,
// broadcast_bsr4x1_s8.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"

namespace octavo {
namespace {

static inline __m256i load256(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline void store256(void* p, __m256i v) { _mm256_storeu_si256((__m256i*)p, v); }

static inline void put256(int32_t* c, __m256i v, bool add) {
  store256(c, add ? _mm256_add_epi32(load256(c), v) : v);
}

// Sums of eight columns, `stride` apart, for rows 0 to 3 and Second to Second + 3: to those below
// `rows` of c, or on top of what is there.
template <int Second = 4>
static inline void store_rows(const int32_t* sum, int stride, int rows, int32_t* c,
                              int64_t c_stride, bool add = false) {
  __m256i pair[8];
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m256i even = load256(sum + 2 * i * stride), odd = load256(sum + (2 * i + 1) * stride);
    pair[i] = _mm256_unpacklo_epi32(even, odd);
    pair[i + 4] = _mm256_unpackhi_epi32(even, odd);
  }
  __m256i row[8];  // 0-3: rows 0 and 4, 1 and 5, ... of columns 0 to 3; 4-7: of columns 4 to 7
  OCTAVO_UNROLL
  for (int i = 0; i < 2; ++i) {
    row[4 * i] = _mm256_unpacklo_epi64(pair[2 * i], pair[2 * i + 1]);
    row[4 * i + 1] = _mm256_unpackhi_epi64(pair[2 * i], pair[2 * i + 1]);
    row[4 * i + 2] = _mm256_unpacklo_epi64(pair[2 * i + 4], pair[2 * i + 5]);
    row[4 * i + 3] = _mm256_unpackhi_epi64(pair[2 * i + 4], pair[2 * i + 5]);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m256i low = _mm256_permute2x128_si256(row[i], row[i + 4], 0x20);
    const __m256i high = _mm256_permute2x128_si256(row[i], row[i + 4], 0x31);
    if (i < rows) put256(c + i * c_stride, low, add);
    if (i + Second < rows) put256(c + (i + Second) * c_stride, high, add);
  }
}

}  // namespace
}  // namespace octavo
