// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr4x1_s8 for one row, whose codes are picked at their indexes one by one, which is
// what limits: two loads, a shift and an or each (vpinsrb is no faster on Zen 3).
#pragma once
#include "kernels/broadcast_bsr4x1_s8/kernel.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/store_rows.h"
#include "kernels/common/x86.h"

namespace octavo {
namespace {

static inline __m128i load128(const void* p) { return _mm_loadu_si128((const __m128i*)p); }

// The codes at the four indexes of a unit.
static inline uint32_t pick4(const uint8_t* a, const uint16_t* index) {
  return (uint32_t)a[index[0]] | (uint32_t)a[index[1]] << 8 | (uint32_t)a[index[2]] << 16 |
         (uint32_t)a[index[3]] << 24;
}

static inline __m128i pick8(const uint8_t* a, const uint16_t* index) {
  return _mm_set_epi64x(0, (int64_t)((uint64_t)pick4(a, index + 4) << 32 | pick4(a, index)));
}

static inline __m128i sum_of_halves(__m256i v) {
  return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

// Sets of four columns, two units at a time: the codes of a unit meet all its columns.
static inline void row_by_fours(const BroadcastBsr4x1S8Args& args) {
  const __m256i first_then_second = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  for (int s = 0; s < 4 * args.b.panels; ++s) {
    const uint32_t t = args.b.first[s];
    uint32_t units = args.b.first[s + 1] - t;
    const int8_t* code = args.b.code + 16 * (int64_t)t;
    const uint16_t* index = args.b.index + 4 * (int64_t)t;
    __m256i sum =
        _mm256_zextsi128_si256(load128(args.add ? args.c + 4 * s : args.b.negative_sum + 4 * s));
    if (!args.add) sum = first_sums(sum);
    for (; units >= 2; units -= 2, code += 32, index += 8) {
      const __m256i both = _mm256_castsi128_si256(pick8(args.tile, index));
      const __m256i a = _mm256_permutevar8x32_epi32(both, first_then_second);
      sum = dot4(sum, a, slots32(load256(code)));
    }
    if (units != 0) {
      const __m128i a = _mm_set1_epi32((int32_t)pick4(args.tile, index));
      sum = dot4(sum, _mm256_zextsi128_si256(a), slots32(_mm256_zextsi128_si256(load128(code))));
    }
    _mm_storeu_si128((__m128i*)(args.c + 4 * s), sum_of_halves(sum));
  }
}

// Block rows of one column, four units at a time. (Running sums over all columns, whose differences
// are the columns, are no faster.)
static inline void row_by_columns(const BroadcastBsr4x1S8Args& args) {
  for (int n = 0; n < 16 * args.b.panels; ++n) {
    const uint32_t t = args.b.first[n];
    uint32_t units = args.b.first[n + 1] - t;
    const int8_t* code = args.b.code + 4 * (int64_t)t;
    const uint16_t* index = args.b.index + 4 * (int64_t)t;
    const __m128i start = _mm_cvtsi32_si128(args.add ? args.c[n] : args.b.negative_sum[n]);
    __m256i sum = _mm256_zextsi128_si256(start);
    if (!args.add) sum = first_sums(sum);
    for (; units >= 4; units -= 4, code += 16, index += 16) {
      const __m128i a = _mm_unpacklo_epi64(pick8(args.tile, index), pick8(args.tile, index + 8));
      sum = dot4(sum, _mm256_zextsi128_si256(a), slots32(_mm256_zextsi128_si256(load128(code))));
    }
    for (; units > 0; --units, code += 4, index += 4) {
      const __m128i a = _mm_cvtsi32_si128((int32_t)pick4(args.tile, index));
      const __m128i b = _mm_cvtsi32_si128(four_bytes(code));
      sum = dot4(sum, _mm256_zextsi128_si256(a), slots32(_mm256_zextsi128_si256(b)));
    }
    __m128i total = _mm256_castsi256_si128(sum);
    total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0x4e));
    total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0xb1));
    args.c[n] = _mm_cvtsi128_si32(total);
  }
}

static inline void one_row(const BroadcastBsr4x1S8Args& args) {
  if (args.b.outputs == 4) {
    row_by_fours(args);
  } else {
    row_by_columns(args);
  }
}

}  // namespace
}  // namespace octavo
