// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr1x4_s8 with ymm registers; a tier's file includes its dot4_*.h first.
#pragma once
#include "kernels/broadcast_bsr1x4_s8/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/store_rows.h"
#include "kernels/common/x86.h"

namespace octavo {
namespace {

static inline Slots32 broadcast_block(const int8_t* code) {
  return slots32(_mm256_set1_epi32(four_bytes(code)));
}

// What two neighbouring blocks of a column add.
template <int Vectors>
static inline void add_pair(const int8_t* code, const uint16_t* index, const uint8_t* tile,
                            __m256i (*sum)[kPairSums]) {
  const Slots32 b0 = broadcast_block(code), b1 = broadcast_block(code + 4);
  const uint8_t* a0 = tile + 32 * Vectors * (int64_t)index[0];
  const uint8_t* a1 = tile + 32 * Vectors * (int64_t)index[1];
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    dot4_pair(sum[v], load256(a0 + 32 * v), b0, load256(a1 + 32 * v), b1);
  }
}

// The sums of one column for 8 * Vectors rows. Few vectors take two pairs at a time, each with sums
// of its own.
template <int Vectors>
static inline void column(const BroadcastBsr1x4S8Args& args, int n, int32_t* out) {
  constexpr int kPairs = Vectors > 2 ? 1 : 2;
  __m256i sum[kPairs][Vectors][kPairSums] = {};
  const uint32_t first = args.b.first[n];
  const int8_t* code = args.b.code + 4 * (int64_t)first;
  const uint16_t* index = args.b.index + first;
  uint32_t left = args.b.paired[n];
  uint32_t single = args.b.first[n + 1] - first - left;
  for (; left >= 2 * kPairs; left -= 2 * kPairs, code += 8 * kPairs, index += 2 * kPairs) {
    OCTAVO_UNROLL
    for (int i = 0; i < kPairs; ++i) {
      add_pair<Vectors>(code + 8 * i, index + 2 * i, args.tile, sum[i]);
    }
  }
  for (single += left; single > 0; --single, code += 4, ++index) {
    const Slots32 b = broadcast_block(code);
    const uint8_t* a = args.tile + 32 * Vectors * (int64_t)*index;
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[0][v][0] = dot4(sum[0][v][0], load256(a + 32 * v), b);
  }
  const __m256i missing = first_sums(_mm256_set1_epi32(args.b.negative_sum[n]));
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    __m256i total = missing;
    OCTAVO_UNROLL
    for (int i = 0; i < kPairs; ++i) {
      OCTAVO_UNROLL
      for (int j = 0; j < kPairSums; ++j) total = _mm256_add_epi32(total, sum[i][v][j]);
    }
    store256(out + 8 * v, total);
  }
}

template <int Vectors>
static inline void all_columns(const BroadcastBsr1x4S8Args& args) {
  for (int n = 0; n < 16 * args.b.panels; n += 8) {
    alignas(32) int32_t sum[8][8 * Vectors];
    for (int i = 0; i < 8; ++i) column<Vectors>(args, n + i, sum[i]);
    for (int m = 0; m < args.m; m += 8) {
      store_rows(&sum[0][m], 8 * Vectors, args.m - m, args.c + m * args.c_stride + n,
                 args.c_stride);
    }
  }
}

static inline void broadcast_bsr1x4(const BroadcastBsr1x4S8Args& args) {
  if (args.m <= 8) {
    all_columns<1>(args);
  } else if (args.m <= 16) {
    all_columns<2>(args);
  } else if (args.m <= 24) {
    all_columns<3>(args);
  } else {
    all_columns<4>(args);
  }
}

}  // namespace
}  // namespace octavo
