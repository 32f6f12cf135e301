// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr1x4_s8 with NEON registers; a tier's file includes its dot4_*.h first. Each load
// brings what one dot4 needs.
#pragma once
#include "kernels/broadcast_bsr1x4_s8/kernel.h"
#include "kernels/common/codes_neon.h"

namespace octavo {
namespace {

// The sums of one column for 4 * Vectors rows. Few vectors take several blocks at a time, each with
// sums of its own: a dot product waits for the one before.
template <int Vectors>
static inline void column(const BroadcastBsr1x4S8Args& args, int n, int32x4_t* out) {
  constexpr int kChains = Vectors == 1 ? 4 : Vectors <= 4 ? 2 : 1;
  Sum4 sum[kChains][Vectors];
  OCTAVO_UNROLL
  for (int i = 0; i < kChains * Vectors; ++i) sum[i / Vectors][i % Vectors] = no_sum();
  const uint32_t first = args.b.first[n];
  const int8_t* code = args.b.code + 4 * (int64_t)first;
  const uint16_t* index = args.b.index + first;
  const auto add_block = [&](Sum4* to) {
    const int8x16_t b = broadcast4(code);
    const uint8_t* a = args.tile + 16 * Vectors * (int64_t)*index;
    OCTAVO_FORGET(a);  // or it would be multiplied anew for each vector
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) to[v] = dot4(to[v], load16(a + 16 * v), b);
    code += 4;
    ++index;
  };
  uint32_t left = args.b.first[n + 1] - first;
  for (; left >= kChains; left -= kChains) {
    OCTAVO_UNROLL
    for (int i = 0; i < kChains; ++i) add_block(sum[i]);
  }
  for (; left > 0; --left) add_block(sum[0]);
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    OCTAVO_UNROLL
    for (int i = 1; i < kChains; ++i) sum[0][v] = add(sum[0][v], sum[i][v]);
    out[v] = total(sum[0][v]);
  }
}

template <int Vectors>
static inline void all_columns(const BroadcastBsr1x4S8Args& args) {
  for (int n = 0; n < 16 * args.b.panels; n += 4) {
    int32x4_t sum[4][Vectors];
    for (int i = 0; i < 4; ++i) column<Vectors>(args, n + i, sum[i]);
    for (int m = 0; m < args.m; m += 4) {
      store_rows(&sum[0][m / 4], Vectors, args.m - m, args.c + m * args.c_stride + n,
                 args.c_stride);
    }
  }
}

static inline void broadcast_bsr1x4(const BroadcastBsr1x4S8Args& args) {
  switch ((args.m + 3) / 4) {
    case 1: return all_columns<1>(args);
    case 2: return all_columns<2>(args);
    case 3: return all_columns<3>(args);
    case 4: return all_columns<4>(args);
    case 5: return all_columns<5>(args);
    case 6: return all_columns<6>(args);
    case 7: return all_columns<7>(args);
    default: return all_columns<8>(args);
  }
}

}  // namespace
}  // namespace octavo
