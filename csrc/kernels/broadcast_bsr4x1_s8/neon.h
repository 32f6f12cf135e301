// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr4x1_s8 with NEON registers; a tier's file includes its dot4_*.h first. The four
// indexes of a unit are interleaved once for its columns, which are the lanes of one register of
// codes.
#pragma once
#include "kernels/broadcast_bsr4x1_s8/kernel.h"
#include "kernels/common/codes_neon.h"

namespace octavo {
namespace {

constexpr int kMostRows = 32;

// The groups of one unit for 4 * Vectors rows of a tile.
template <int Vectors>
static inline void groups_of(const uint8_t* tile, const uint16_t* index, int8x16_t* group) {
  interleave<Vectors>(tile + kMostRows * (int64_t)index[0], tile + kMostRows * (int64_t)index[1],
                      tile + kMostRows * (int64_t)index[2], tile + kMostRows * (int64_t)index[3],
                      group);
}

// A block row of four columns, for rows [m0, m0 + 4 * Vectors).
template <int Vectors>
static inline void four_columns(const BroadcastBsr4x1S8Args& args, int s, int m0) {
  Sum4 sum[4][Vectors];
  OCTAVO_UNROLL
  for (int i = 0; i < 4 * Vectors; ++i) sum[i / Vectors][i % Vectors] = no_sum();
  const uint32_t end = args.b.first[s + 1];
  for (uint32_t t = args.b.first[s]; t < end; ++t) {
    int8x16_t group[Vectors];
    groups_of<Vectors>(args.tile + m0, args.b.index + 4 * (int64_t)t, group);
    const int8x16_t codes = load16(args.b.code + 16 * (int64_t)t);
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      sum[0][v] = dot4_lane<0>(sum[0][v], group[v], codes);
      sum[1][v] = dot4_lane<1>(sum[1][v], group[v], codes);
      sum[2][v] = dot4_lane<2>(sum[2][v], group[v], codes);
      sum[3][v] = dot4_lane<3>(sum[3][v], group[v], codes);
    }
  }
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    const int m = m0 + 4 * v;
    const int32x4_t four[4] = {total(sum[0][v]), total(sum[1][v]), total(sum[2][v]),
                               total(sum[3][v])};
    store_rows(four, 1, args.m - m, args.c + m * args.c_stride + 4 * s, args.c_stride, args.add);
  }
}

// A column that is a block row of its own, for 8 rows or 16.
template <int Vectors>
static inline void one_column(const BroadcastBsr4x1S8Args& args, int n, int m0, int32x4_t* out) {
  Sum4 sum[Vectors];
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) sum[v] = no_sum();
  const uint32_t end = args.b.first[n + 1];
  for (uint32_t t = args.b.first[n]; t < end; ++t) {
    int8x16_t group[Vectors];
    groups_of<Vectors>(args.tile + m0, args.b.index + 4 * (int64_t)t, group);
    const int8x16_t b = broadcast4(args.b.code + 4 * (int64_t)t);
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[v] = dot4(sum[v], group[v], b);
  }
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) out[v] = total(sum[v]);
}

template <int Vectors>
static inline void four_single_columns(const BroadcastBsr4x1S8Args& args, int n, int m0) {
  int32x4_t sum[4][Vectors];
  for (int i = 0; i < 4; ++i) one_column<Vectors>(args, n + i, m0, sum[i]);
  for (int v = 0; v < Vectors; ++v) {
    const int m = m0 + 4 * v;
    store_rows(&sum[0][v], Vectors, args.m - m, args.c + m * args.c_stride + n, args.c_stride,
               args.add);
  }
}

// The codes at the four indexes of a unit, of one row.
static inline int32_t pick4(const uint8_t* a, const uint16_t* index) {
  return (int32_t)((uint32_t)a[index[0]] | (uint32_t)a[index[1]] << 8 |
                   (uint32_t)a[index[2]] << 16 | (uint32_t)a[index[3]] << 24);
}

static inline void row_by_fours(const BroadcastBsr4x1S8Args& args) {
  for (int s = 0; s < 4 * args.b.panels; ++s) {
    Sum4 sum = no_sum();
    const uint32_t end = args.b.first[s + 1];
    for (uint32_t t = args.b.first[s]; t < end; ++t) {
      const int32x4_t a = vdupq_n_s32(pick4(args.tile, args.b.index + 4 * (int64_t)t));
      sum = dot4(sum, vreinterpretq_s8_s32(a), load16(args.b.code + 16 * (int64_t)t));
    }
    int32_t* c = args.c + 4 * s;
    vst1q_s32(c, args.add ? vaddq_s32(total(sum), vld1q_s32(c)) : total(sum));
  }
}

// Four units at a time.
static inline void row_by_columns(const BroadcastBsr4x1S8Args& args) {
  for (int n = 0; n < 16 * args.b.panels; ++n) {
    Sum4 sum = no_sum();
    const uint32_t t = args.b.first[n];
    uint32_t units = args.b.first[n + 1] - t;
    const int8_t* code = args.b.code + 4 * (int64_t)t;
    const uint16_t* index = args.b.index + 4 * (int64_t)t;
    for (; units >= 4; units -= 4, code += 16, index += 16) {
      const int32_t four[4] = {pick4(args.tile, index), pick4(args.tile, index + 4),
                               pick4(args.tile, index + 8), pick4(args.tile, index + 12)};
      sum = dot4(sum, vreinterpretq_s8_s32(vld1q_s32(four)), load16(code));
    }
    for (; units > 0; --units, code += 4, index += 4) {
      const int32x4_t a = vsetq_lane_s32(pick4(args.tile, index), vdupq_n_s32(0), 0);
      sum = dot4(sum, vreinterpretq_s8_s32(a), broadcast4(code));
    }
    const uint32_t before = args.add ? (uint32_t)args.c[n] : 0;
    args.c[n] = (int32_t)(before + (uint32_t)vaddvq_s32(total(sum)));
  }
}

template <int Vectors>
static inline void all_columns(const BroadcastBsr4x1S8Args& args) {
  for (int n = 0; n < 16 * args.b.panels; n += 4) {
    for (int m = 0; m < args.m; m += 4 * Vectors) {
      if (args.b.outputs == 4) {
        four_columns<Vectors>(args, n / 4, m);
      } else {
        four_single_columns<Vectors>(args, n, m);
      }
    }
  }
}

// Most: vectors of rows that four columns have registers for.
template <int Most>
static inline void broadcast_bsr4x1(const BroadcastBsr4x1S8Args& args) {
  if (args.rows == 1) {
    args.b.outputs == 4 ? row_by_fours(args) : row_by_columns(args);
  } else if (args.m <= 8) {
    all_columns<2>(args);
  } else {
    all_columns<Most>(args);
  }
}

}  // namespace
}  // namespace octavo
