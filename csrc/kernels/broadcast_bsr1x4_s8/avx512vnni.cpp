// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr1x4_s8 for AVX-512 VNNI (vpdpbusd, zmm): 64 rows, so that a block's broadcast and
// index are shared by four dot products. Every load brings what one dot product needs: two a cycle.
#include "kernels/broadcast_bsr1x4_s8/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/store_rows.h"
#include "kernels/common/x86.h"

namespace octavo {
namespace {

// What `Chains` neighbouring blocks of a column add, each to sums of its own.
template <int Chains, int Vectors>
static inline void add_blocks(const int8_t* code, const uint16_t* index, const uint8_t* tile,
                              __m512i (*sum)[Vectors]) {
  OCTAVO_UNROLL
  for (int j = 0; j < Chains; ++j) {
    const __m512i b = _mm512_set1_epi32(four_bytes(code + 4 * j));
    const uint8_t* a = tile + 64 * Vectors * (int64_t)index[j];
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      sum[j][v] = _mm512_dpbusd_epi32(sum[j][v], _mm512_loadu_si512(a + 64 * v), b);
    }
  }
}

// The sums of one column for 16 * Vectors rows: eight sums or more cover the latency of vpdpbusd.
template <int Vectors>
static inline void column(const BroadcastBsr1x4S8Args& args, int n, int32_t* out) {
  constexpr int kChains = Vectors == 1 ? 8 : Vectors == 2 ? 4 : 3;
  __m512i sum[kChains][Vectors];
  OCTAVO_UNROLL
  for (int j = 0; j < kChains; ++j) {
    OCTAVO_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[j][v] = _mm512_setzero_si512();
  }
  const uint32_t first = args.b.first[n];
  const int8_t* code = args.b.code + 4 * (int64_t)first;
  const uint16_t* index = args.b.index + first;
  uint32_t left = args.b.first[n + 1] - first;
  for (; left >= kChains; left -= kChains, code += 4 * kChains, index += kChains) {
    add_blocks<kChains, Vectors>(code, index, args.tile, sum);
  }
  for (; left > 0; --left, code += 4, ++index) {
    add_blocks<1, Vectors>(code, index, args.tile, sum);
  }
  OCTAVO_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    OCTAVO_UNROLL
    for (int j = 1; j < kChains; ++j) sum[0][v] = _mm512_add_epi32(sum[0][v], sum[j][v]);
    _mm512_storeu_si512(out + 16 * v, sum[0][v]);
  }
}

template <int Vectors>
static inline void all_columns(const BroadcastBsr1x4S8Args& args) {
  constexpr int kRows = 16 * Vectors;
  for (int n = 0; n < 16 * args.b.panels; n += 8) {
    alignas(64) int32_t sum[8][kRows];
    for (int i = 0; i < 8; ++i) column<Vectors>(args, n + i, sum[i]);
    for (int m = 0; m < args.m; m += 8) {
      store_rows(&sum[0][m], kRows, args.m - m, args.c + m * args.c_stride + n, args.c_stride);
    }
  }
}

}  // namespace

void broadcast_bsr1x4_u8s8s32_64x1x4_avx512vnni(const BroadcastBsr1x4S8Args& args) noexcept {
  if (args.m <= 16) {
    all_columns<1>(args);
  } else if (args.m <= 32) {
    all_columns<2>(args);
  } else if (args.m <= 48) {
    all_columns<3>(args);
  } else {
    all_columns<4>(args);
  }
}

}  // namespace octavo
