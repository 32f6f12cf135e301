// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr4x1_s8 with ymm registers; a tier's file includes its dot4_*.h first.
//
// The four indexes of a unit are interleaved: four tile rows to groups of 4 along k, as dot4 wants
// them. For block rows of four columns the groups are laid down in L1 first, and read once for
// each, so that a column's sums for 32 rows stay in registers. On AVX2 (Zen 3, 32 rows)
// interleaving is a fifth of their work, which runs at 0.55 (10 units a block row) to 0.85 of the
// dense kernel's pace; with block rows of one it is half of it, and they run at 0.5.
#pragma once
#include "kernels/broadcast_bsr4x1_s8/kernel.h"
#include "kernels/broadcast_bsr4x1_s8/one_row.h"
#include "kernels/common/compiler.h"
#include "kernels/common/store_rows.h"
#include "kernels/common/x86.h"

namespace octavo {
namespace {

constexpr uint32_t kUnitsAtOnce = 48;  // 6 KB of groups on the stack

static inline __m128i load64(const void* p) { return _mm_loadl_epi64((const __m128i*)p); }

// Groups of one unit for 8 * Vectors rows. With four vectors the rows come in the order of
// unpacks within 128 bits, 0-3 16-19, 4-7 20-23, ..., which store_rows undoes; else as they are.
template <int Rows, int Vectors>
static inline void interleave(const uint8_t* tile, const uint16_t* index, __m256i* group) {
  const uint8_t* a[4];
  OCTAVO_UNROLL
  for (int q = 0; q < 4; ++q) a[q] = tile + Rows * (int64_t)index[q];
  if (Vectors == 1) {
    const __m128i low01 = _mm_unpacklo_epi8(load64(a[0]), load64(a[1]));
    const __m128i low23 = _mm_unpacklo_epi8(load64(a[2]), load64(a[3]));
    group[0] = _mm256_set_m128i(_mm_unpackhi_epi16(low01, low23), _mm_unpacklo_epi16(low01, low23));
  } else if (Vectors == 2) {
    const __m128i a0 = load128(a[0]), a1 = load128(a[1]), a2 = load128(a[2]), a3 = load128(a[3]);
    const __m128i low01 = _mm_unpacklo_epi8(a0, a1), low23 = _mm_unpacklo_epi8(a2, a3);
    const __m128i high01 = _mm_unpackhi_epi8(a0, a1), high23 = _mm_unpackhi_epi8(a2, a3);
    group[0] = _mm256_set_m128i(_mm_unpackhi_epi16(low01, low23), _mm_unpacklo_epi16(low01, low23));
    group[Vectors / 2] =
        _mm256_set_m128i(_mm_unpackhi_epi16(high01, high23), _mm_unpacklo_epi16(high01, high23));
  } else {
    const __m256i a0 = load256(a[0]), a1 = load256(a[1]), a2 = load256(a[2]), a3 = load256(a[3]);
    const __m256i low01 = _mm256_unpacklo_epi8(a0, a1), low23 = _mm256_unpacklo_epi8(a2, a3);
    const __m256i high01 = _mm256_unpackhi_epi8(a0, a1), high23 = _mm256_unpackhi_epi8(a2, a3);
    group[0] = _mm256_unpacklo_epi16(low01, low23);
    group[Vectors / 4] = _mm256_unpackhi_epi16(low01, low23);
    group[Vectors / 2] = _mm256_unpacklo_epi16(high01, high23);
    group[3 * Vectors / 4] = _mm256_unpackhi_epi16(high01, high23);
  }
}

// One column's four codes of a unit.
static inline Slots32 codes_of(const int8_t* code) {
  return slots32(_mm256_set1_epi32(four_bytes(code)));
}

// Adds `units` to the sums of `Columns` columns of a block row; code points at the first column's.
// The first `paired` come in twos.
template <int Vectors, int Columns>
static inline void add_units(const int8_t* code, uint32_t paired, uint32_t units,
                             const uint8_t* group, int32_t (*sum)[8 * Vectors]) {
  __m256i s[Columns][Vectors][kPairSums] = {};
  OCTAVO_UNROLL
  for (int j = 0; j < Columns; ++j) {
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) s[j][v][0] = load256(sum[j] + 8 * v);
  }
  uint32_t i = 0;
  for (; i < paired; i += 2, code += 32, group += 64 * Vectors) {
    OCTAVO_UNROLL
    for (int j = 0; j < Columns; ++j) {
      const Slots32 b0 = codes_of(code + 4 * j), b1 = codes_of(code + 16 + 4 * j);
      OCTAVO_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        dot4_pair(s[j][v], load256(group + 32 * v), b0, load256(group + 32 * (Vectors + v)), b1);
      }
    }
  }
  for (; i < units; ++i, code += 16, group += 32 * Vectors) {
    OCTAVO_UNROLL
    for (int j = 0; j < Columns; ++j) {
      const Slots32 b = codes_of(code + 4 * j);
      OCTAVO_UNROLL
      for (int v = 0; v < Vectors; ++v) s[j][v][0] = dot4(s[j][v][0], load256(group + 32 * v), b);
    }
  }
  OCTAVO_UNROLL
  for (int j = 0; j < Columns; ++j) {
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      __m256i total = s[j][v][0];
      OCTAVO_UNROLL
      for (int i = 1; i < kPairSums; ++i) total = _mm256_add_epi32(total, s[j][v][i]);
      store256(sum[j] + 8 * v, total);
    }
  }
}

static inline __m256i start_of(const BroadcastBsr4x1S8Args& args, int n) {
  if (args.add) return _mm256_setzero_si256();
  return first_sums(_mm256_set1_epi32(args.b.negative_sum[n]));
}

// The sums of the four columns of a block row for 8 * Vectors rows.
template <int Rows, int Vectors>
static inline void four_columns(const BroadcastBsr4x1S8Args& args, int s,
                                int32_t (*sum)[8 * Vectors]) {
  constexpr int kColumns = Vectors == 4 ? 1 : 4;
  alignas(32) uint8_t group[kUnitsAtOnce * 32 * Vectors];
  for (int j = 0; j < 4; ++j) {
    const __m256i start = start_of(args, 4 * s + j);
    for (int v = 0; v < Vectors; ++v) store256(sum[j] + 8 * v, start);
  }
  uint32_t left = args.b.first[s + 1] - args.b.first[s];
  // What has sums of its own for each of two needs no sums that fit.
  uint32_t paired = kPairSums > 1 ? left / 2 * 2 : args.b.paired[s];
  for (uint32_t t = args.b.first[s]; left > 0; t += kUnitsAtOnce) {
    const uint32_t units = left < kUnitsAtOnce ? left : kUnitsAtOnce;
    const uint32_t twos = paired < units ? paired : units;
    for (uint32_t i = 0; i < units; ++i) {
      __m256i unit[Vectors];
      interleave<Rows, Vectors>(args.tile, args.b.index + 4 * ((int64_t)t + i), unit);
      OCTAVO_UNROLL
      for (int v = 0; v < Vectors; ++v) store256(group + 32 * (Vectors * i + v), unit[v]);
    }
    for (int j = 0; j < 4; j += kColumns) {
      add_units<Vectors, kColumns>(args.b.code + 16 * (int64_t)t + 4 * j, twos, units, group,
                                   sum + j);
    }
    paired -= twos;
    left -= units;
  }
}

// The sums of one column that is a block row of its own, for 8 * Vectors rows.
template <int Rows, int Vectors>
static inline void single_column(const BroadcastBsr4x1S8Args& args, int n, int32_t* sum) {
  __m256i s[Vectors];
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    s[v] = start_of(args, n);
  }
  const uint32_t end = args.b.first[n + 1];
  for (uint32_t t = args.b.first[n]; t < end; ++t) {
    const Slots32 b = codes_of(args.b.code + 4 * (int64_t)t);
    __m256i group[Vectors];
    interleave<Rows, Vectors>(args.tile, args.b.index + 4 * (int64_t)t, group);
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) s[v] = dot4(s[v], group[v], b);
  }
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) store256(sum + 8 * v, s[v]);
}

template <int Rows, int Vectors>
static inline void all_columns(const BroadcastBsr4x1S8Args& args) {
  for (int n = 0; n < 16 * args.b.panels; n += 8) {
    alignas(32) int32_t sum[8][8 * Vectors];
    if (args.b.outputs == 4) {
      four_columns<Rows, Vectors>(args, n / 4, sum);
      four_columns<Rows, Vectors>(args, n / 4 + 1, sum + 4);
    } else {
      for (int i = 0; i < 8; ++i) single_column<Rows, Vectors>(args, n + i, sum[i]);
    }
    for (int v = 0; v < Vectors; ++v) {
      constexpr int kStep = Vectors == 4 ? 4 : 8, kSecond = Vectors == 4 ? 16 : 4;
      const int m = kStep * v;
      store_rows<kSecond>(&sum[0][8 * v], 8 * Vectors, args.m - m, args.c + m * args.c_stride + n,
                          args.c_stride, args.add);
    }
  }
}

// Rows: of a tile.
template <int Rows>
static inline void broadcast_bsr4x1(const BroadcastBsr4x1S8Args& args) {
  if (args.rows == 1) {
    one_row(args);
  } else if (args.m <= 8) {
    all_columns<Rows, 1>(args);
  } else if (args.m <= 16) {
    all_columns<Rows, 2>(args);
  } else {
    all_columns<Rows, 4>(args);
  }
}

}  // namespace
}  // namespace octavo
