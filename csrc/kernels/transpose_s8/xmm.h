// SPDX-License-Identifier: Apache-2.0
// transpose_s8, eight rows by sixteen codes at a time: three rounds of unpacking on xmm registers.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/transpose_s8/kernel.h"

namespace octavo {
namespace {

static inline void block(const uint8_t* const* row, int64_t k, uint8_t* out, int64_t rows) {
  __m128i x[8], y[8];
  OCTAVO_UNROLL
  for (int i = 0; i < 8; ++i) x[i] = _mm_loadu_si128((const __m128i*)(row[i] + k));
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {  // pairs of rows i and i + 4: k 0-7, then k 8-15
    y[i] = _mm_unpacklo_epi8(x[i], x[i + 4]);
    y[i + 4] = _mm_unpackhi_epi8(x[i], x[i + 4]);
  }
  OCTAVO_UNROLL
  for (int h = 0; h < 2; ++h) {
    OCTAVO_UNROLL
    for (int i = 0; i < 2; ++i) {  // rows i, i + 2, i + 4, i + 6
      x[4 * h + i] = _mm_unpacklo_epi8(y[4 * h + i], y[4 * h + i + 2]);
      x[4 * h + i + 2] = _mm_unpackhi_epi8(y[4 * h + i], y[4 * h + i + 2]);
    }
    OCTAVO_UNROLL
    for (int q = 0; q < 2; ++q) {  // all eight rows: k 0-1, 2-3 of a quarter
      const __m128i low = _mm_unpacklo_epi8(x[4 * h + 2 * q], x[4 * h + 2 * q + 1]);
      const __m128i high = _mm_unpackhi_epi8(x[4 * h + 2 * q], x[4 * h + 2 * q + 1]);
      uint8_t* to = out + rows * (k + 8 * h + 4 * q);
      _mm_storel_epi64((__m128i*)to, low);
      _mm_storeh_pd((double*)(to + rows), _mm_castsi128_pd(low));
      _mm_storel_epi64((__m128i*)(to + 2 * rows), high);
      _mm_storeh_pd((double*)(to + 3 * rows), _mm_castsi128_pd(high));
    }
  }
}

static inline void transpose(const TransposeS8Args& args) {
  for (int m = 0; m < args.m; m += 8) {
    const uint8_t* row[8];
    for (int i = 0; i < 8; ++i) {  // missing rows repeat the last one
      row[i] = args.a + (m + i < args.m ? m + i : args.m - 1) * args.a_stride;
    }
    for (int64_t k = 0; k < args.k; k += 16) {
      block(row, k, args.tile + args.column + m, args.rows);
    }
  }
}

}  // namespace
}  // namespace octavo
