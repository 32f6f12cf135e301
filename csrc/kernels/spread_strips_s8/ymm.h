// SPDX-License-Identifier: Apache-2.0
// spread_strips_s8 with ymm registers; a tier's file includes its dot4_*.h first.
//
// The four places of a square are interleaved once (four tile rows to groups of 4 along k, as dot4
// wants them) and serve four columns. A set's groups are laid down in L1 first, so that a column's
// sums for 32 rows stay in registers while they are read. On AVX2 interleaving is a fifth of the
// work, and the product runs at 0.7 to 0.8 of the dense kernel's pace (Zen 3, 32 rows).
#pragma once
#include <string.h>

#include "kernels/common/compiler.h"
#include "kernels/common/store_rows.h"
#include "kernels/common/x86.h"
#include "kernels/spread_strips_s8/kernel.h"

namespace octavo {
namespace {

constexpr uint32_t kSquaresAtOnce = 64;  // 8 KB of groups

static inline __m128i load4(const void* p) { return _mm_loadu_si128((const __m128i*)p); }
static inline __m128i load2(const void* p) { return _mm_loadl_epi64((const __m128i*)p); }

// Groups of one square for 8 * Vectors rows. With four vectors the rows come in the order of
// unpacks within 128 bits, 0-3 16-19, 4-7 20-23, ..., which store_rows undoes; else as they are.
template <int Vectors>
static inline void interleave(const uint8_t* const* a, uint8_t* out) {
  if (Vectors == 1) {
    const __m128i low01 = _mm_unpacklo_epi8(load2(a[0]), load2(a[1]));
    const __m128i low23 = _mm_unpacklo_epi8(load2(a[2]), load2(a[3]));
    _mm_storeu_si128((__m128i*)out, _mm_unpacklo_epi16(low01, low23));
    _mm_storeu_si128((__m128i*)(out + 16), _mm_unpackhi_epi16(low01, low23));
  } else if (Vectors == 2) {
    const __m128i a0 = load4(a[0]), a1 = load4(a[1]), a2 = load4(a[2]), a3 = load4(a[3]);
    const __m128i low01 = _mm_unpacklo_epi8(a0, a1), low23 = _mm_unpacklo_epi8(a2, a3);
    const __m128i high01 = _mm_unpackhi_epi8(a0, a1), high23 = _mm_unpackhi_epi8(a2, a3);
    _mm_storeu_si128((__m128i*)out, _mm_unpacklo_epi16(low01, low23));
    _mm_storeu_si128((__m128i*)(out + 16), _mm_unpackhi_epi16(low01, low23));
    _mm_storeu_si128((__m128i*)(out + 32), _mm_unpacklo_epi16(high01, high23));
    _mm_storeu_si128((__m128i*)(out + 48), _mm_unpackhi_epi16(high01, high23));
  } else {
    const __m256i a0 = load8(a[0]), a1 = load8(a[1]), a2 = load8(a[2]), a3 = load8(a[3]);
    const __m256i low01 = _mm256_unpacklo_epi8(a0, a1), low23 = _mm256_unpacklo_epi8(a2, a3);
    const __m256i high01 = _mm256_unpackhi_epi8(a0, a1), high23 = _mm256_unpackhi_epi8(a2, a3);
    store8(out, _mm256_unpacklo_epi16(low01, low23));
    store8(out + 32, _mm256_unpackhi_epi16(low01, low23));
    store8(out + 64, _mm256_unpacklo_epi16(high01, high23));
    store8(out + 96, _mm256_unpackhi_epi16(high01, high23));
  }
}

// One column's four codes of a square.
static inline Slots32 codes_of(const int8_t* code) {
  int32_t four;
  memcpy(&four, code, 4);
  return slots32(_mm256_set1_epi32(four));
}

// Adds `squares` to the sums of `Columns` columns of a set; code points at the first column's. The
// first `paired` come in twos.
template <int Vectors, int Columns>
static inline void add_squares(const int8_t* code, uint32_t paired, uint32_t squares,
                               const uint8_t* group, int32_t (*sum)[8 * Vectors]) {
  __m256i s[Columns][Vectors][kPairSums] = {};
  OCTAVO_UNROLL
  for (int j = 0; j < Columns; ++j) {
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) s[j][v][0] = load8(sum[j] + 8 * v);
  }
  uint32_t i = 0;
  for (; i < paired; i += 2, code += 32, group += 64 * Vectors) {
    OCTAVO_UNROLL
    for (int j = 0; j < Columns; ++j) {
      const Slots32 b0 = codes_of(code + 4 * j), b1 = codes_of(code + 16 + 4 * j);
      OCTAVO_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        dot4_pair(s[j][v], load8(group + 32 * v), b0, load8(group + 32 * (Vectors + v)), b1);
      }
    }
  }
  for (; i < squares; ++i, code += 16, group += 32 * Vectors) {
    OCTAVO_UNROLL
    for (int j = 0; j < Columns; ++j) {
      const Slots32 b = codes_of(code + 4 * j);
      OCTAVO_UNROLL
      for (int v = 0; v < Vectors; ++v) s[j][v][0] = dot4(s[j][v][0], load8(group + 32 * v), b);
    }
  }
  OCTAVO_UNROLL
  for (int j = 0; j < Columns; ++j) {
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      __m256i total = s[j][v][0];
      OCTAVO_UNROLL
      for (int i = 1; i < kPairSums; ++i) total = _mm256_add_epi32(total, s[j][v][i]);
      store8(sum[j] + 8 * v, total);
    }
  }
}

// The sums of the four columns of a set for 8 * Vectors rows.
template <int Rows, int Vectors>
static inline void set_of_columns(const SpreadStripsS8Args& args, int s,
                                  int32_t (*sum)[8 * Vectors]) {
  constexpr int kColumns = Vectors == 4 ? 1 : 4;
  alignas(32) uint8_t group[kSquaresAtOnce * 32 * Vectors];
  for (int j = 0; j < 4; ++j) {
    const __m256i start = first_sums(_mm256_set1_epi32(args.b.negative_sum[4 * s + j]));
    for (int v = 0; v < Vectors; ++v) store8(sum[j] + 8 * v, start);
  }
  uint32_t left = args.b.first_square[s + 1] - args.b.first_square[s];
  // What has sums of its own for each of two needs no sums that fit.
  uint32_t paired = kPairSums > 1 ? left / 2 * 2 : args.b.paired[s];
  for (uint32_t t = args.b.first_square[s]; left > 0; t += kSquaresAtOnce) {
    const uint32_t squares = left < kSquaresAtOnce ? left : kSquaresAtOnce;
    const uint32_t twos = paired < squares ? paired : squares;
    for (uint32_t i = 0; i < squares; ++i) {
      const uint16_t* place = args.b.place + 4 * ((int64_t)t + i);
      const uint8_t* a[4];
      OCTAVO_UNROLL
      for (int q = 0; q < 4; ++q) a[q] = args.tile + Rows * (int64_t)place[q];
      interleave<Vectors>(a, group + 32 * Vectors * i);
    }
    for (int j = 0; j < 4; j += kColumns) {
      add_squares<Vectors, kColumns>(args.b.code + 16 * (int64_t)t + 4 * j, twos, squares, group,
                                     sum + j);
    }
    paired -= twos;
    left -= squares;
  }
}

template <int Rows, int Vectors>
static inline void all_sets(const SpreadStripsS8Args& args) {
  for (int s = 0; s < 4 * args.b.panels; s += 2) {
    alignas(32) int32_t sum[8][8 * Vectors];
    set_of_columns<Rows, Vectors>(args, s, sum);
    set_of_columns<Rows, Vectors>(args, s + 1, sum + 4);
    int32_t* c = args.c + 4 * s;
    for (int v = 0; v < Vectors; ++v) {
      if (Vectors == 4) {
        const int m = 4 * v;
        store_rows<16>(&sum[0][8 * v], 32, args.m - m, c + m * args.c_stride, args.c_stride);
      } else {
        const int m = 8 * v;
        store_rows(&sum[0][m], 8 * Vectors, args.m - m, c + m * args.c_stride, args.c_stride);
      }
    }
  }
}

// The codes of one row at eight places, in the low half.
static inline __m128i pick8(const uint8_t* a, const uint16_t* place) {
  __m128i v = _mm_cvtsi32_si128(a[place[0]]);
  v = _mm_insert_epi8(v, a[place[1]], 1);
  v = _mm_insert_epi8(v, a[place[2]], 2);
  v = _mm_insert_epi8(v, a[place[3]], 3);
  v = _mm_insert_epi8(v, a[place[4]], 4);
  v = _mm_insert_epi8(v, a[place[5]], 5);
  v = _mm_insert_epi8(v, a[place[6]], 6);
  return _mm_insert_epi8(v, a[place[7]], 7);
}

// One row: the codes at the four places of a square meet all its columns, two squares at a time.
static inline void one_row(const SpreadStripsS8Args& args) {
  const __m256i first_then_second = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  for (int s = 0; s < 4 * args.b.panels; ++s) {
    const uint32_t t = args.b.first_square[s];
    uint32_t squares = args.b.first_square[s + 1] - t;
    const int8_t* code = args.b.code + 16 * (int64_t)t;
    const uint16_t* place = args.b.place + 4 * (int64_t)t;
    __m256i sum = first_sums(_mm256_zextsi128_si256(load4(args.b.negative_sum + 4 * s)));
    for (; squares >= 2; squares -= 2, code += 32, place += 8) {
      const __m256i a = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(pick8(args.tile, place)),
                                                    first_then_second);
      sum = dot4(sum, a, slots32(load8(code)));
    }
    if (squares != 0) {
      const uint16_t last[8] = {place[0], place[1], place[2], place[3],
                                place[0], place[1], place[2], place[3]};
      const __m256i a = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(pick8(args.tile, last)),
                                                    first_then_second);
      sum = dot4(sum, a, slots32(_mm256_zextsi128_si256(load4(code))));
    }
    const __m128i total =
        _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    _mm_storeu_si128((__m128i*)(args.c + 4 * s), total);
  }
}

// Rows: of a tile.
template <int Rows>
static inline void spread_strips(const SpreadStripsS8Args& args) {
  if (args.rows == 1) {
    one_row(args);
  } else if (args.m <= 8) {
    all_sets<Rows, 1>(args);
  } else if (args.m <= 16) {
    all_sets<Rows, 2>(args);
  } else {
    all_sets<Rows, 4>(args);
  }
}

}  // namespace
}  // namespace octavo
