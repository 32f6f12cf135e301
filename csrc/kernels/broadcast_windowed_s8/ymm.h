// SPDX-License-Identifier: Apache-2.0
// broadcast_windowed_s8 with ymm registers; a tier's file includes its dot4_*.h first.
//
// Four slots of one column are a group as dot4 wants it once the four tile rows are interleaved:
// 4 loads and 8 unpacks for 128 products. The unpacks work within 128-bit lanes, so sums come out
// in the order 0-3 16-19, 4-7 20-23, ..., which store_rows() undoes.
#pragma once
#include "kernels/broadcast_windowed_s8/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/x86.h"
#include "kernels/gather_s8/slots.h"

namespace octavo {
namespace {

static inline __m256i load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }

// The 32 sums of one column.
template <SlotIndex Kind>
static inline void column(const BroadcastWindowedS8Args& args, int p, int n, __m256i* sum) {
  __m256i s0 = first_sums(_mm256_set1_epi32(args.b.negative_sum[16 * p + n]));
  __m256i s1 = s0, s2 = s0, s3 = s0;
  const uint32_t end = args.b.first_step[p + 1];
  for (uint32_t t = args.b.first_step[p]; t < end; ++t) {
    const uint8_t* window = args.tile + 32 * (int64_t)args.b.window[t];
    const uint8_t* step = args.b.step + t * step_bytes(Kind);
    const uint32_t index = column_index(step, Kind, n);
    const Slots32 b = slots32(_mm256_set1_epi32(four_bytes(step + 4 * n)));
    const __m256i a0 = load(window + 32 * (index & 255));
    const __m256i a1 = load(window + 32 * (index >> 8 & 255));
    const __m256i a2 = load(window + 32 * (index >> 16 & 255));
    const __m256i a3 = load(window + 32 * (index >> 24));
    const __m256i low01 = _mm256_unpacklo_epi8(a0, a1), low23 = _mm256_unpacklo_epi8(a2, a3);
    const __m256i high01 = _mm256_unpackhi_epi8(a0, a1), high23 = _mm256_unpackhi_epi8(a2, a3);
    s0 = dot4(s0, _mm256_unpacklo_epi16(low01, low23), b);
    s1 = dot4(s1, _mm256_unpackhi_epi16(low01, low23), b);
    s2 = dot4(s2, _mm256_unpacklo_epi16(high01, high23), b);
    s3 = dot4(s3, _mm256_unpackhi_epi16(high01, high23), b);
  }
  sum[0] = s0;
  sum[1] = s1;
  sum[2] = s2;
  sum[3] = s3;
}

// Sums of eight columns for rows r .. r + 3 and r + 16 .. r + 19 (one vector of each column) to the
// rows of c below m.
static inline void store_rows(const __m256i* sum, int stride, int r, int m, int32_t* c,
                              int64_t c_stride) {
  __m256i pair[8], row[8];
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    pair[i] = _mm256_unpacklo_epi32(sum[2 * i * stride], sum[(2 * i + 1) * stride]);
    pair[i + 4] = _mm256_unpackhi_epi32(sum[2 * i * stride], sum[(2 * i + 1) * stride]);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < 2; ++i) {
    row[i] = _mm256_unpacklo_epi64(pair[2 * i], pair[2 * i + 1]);
    row[i + 2] = _mm256_unpackhi_epi64(pair[2 * i], pair[2 * i + 1]);
    row[i + 4] = _mm256_unpacklo_epi64(pair[2 * i + 4], pair[2 * i + 5]);
    row[i + 6] = _mm256_unpackhi_epi64(pair[2 * i + 4], pair[2 * i + 5]);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m256i low = _mm256_permute2x128_si256(row[2 * i], row[2 * i + 1], 0x20);
    const __m256i high = _mm256_permute2x128_si256(row[2 * i], row[2 * i + 1], 0x31);
    if (r + i < m) _mm256_storeu_si256((__m256i*)(c + (r + i) * c_stride), low);
    if (r + i + 16 < m) _mm256_storeu_si256((__m256i*)(c + (r + i + 16) * c_stride), high);
  }
}

template <SlotIndex Kind>
static inline void all_panels(const BroadcastWindowedS8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    for (int n = 0; n < 16; n += 8) {
      __m256i sum[8][4];
      for (int i = 0; i < 8; ++i) column<Kind>(args, p, n + i, sum[i]);
      for (int v = 0; v < 4; ++v) {
        store_rows(&sum[0][v], 4, 4 * v, args.m, args.c + 16 * p + n, args.c_stride);
      }
    }
  }
}

static inline void broadcast(const BroadcastWindowedS8Args& args) {
  if (args.b.kind == SlotIndex::kNarrow) {
    all_panels<SlotIndex::kNarrow>(args);
  } else {
    all_panels<SlotIndex::kWide>(args);
  }
}

}  // namespace
}  // namespace octavo
