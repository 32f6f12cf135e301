// SPDX-License-Identifier: Apache-2.0
// broadcast_bsr4x1_s8 for AVX-512 VNNI: more than 32 rows on zmm registers, whose 32 hold the sums
// of a whole block row beside the four groups of a unit; fewer rows as ymm.h has it. 8 unpacks, all
// on one port, stand beside 16 dot products on two: 12 cycles at best for 1024 products (14 by
// llvm-mca, Ice Lake) where the dense kernel takes 8.
#include "kernels/common/dot4_avx512vnni.h"

#include "kernels/broadcast_bsr4x1_s8/ymm.h"

namespace octavo {
namespace {

constexpr int kRows = 64;

static inline __m512i load512(const void* p) { return _mm512_loadu_si512(p); }

// Adds one unit. Rows come in the order of unpacks within 128 bits: vector v has rows
// 16 * lane + 4 * v to 16 * lane + 4 * v + 3.
static inline void add_unit(const uint8_t* tile, const uint16_t* index, const int8_t* code,
                            __m512i (*sum)[4]) {
  const __m512i a0 = load512(tile + kRows * (int64_t)index[0]);
  const __m512i a1 = load512(tile + kRows * (int64_t)index[1]);
  const __m512i a2 = load512(tile + kRows * (int64_t)index[2]);
  const __m512i a3 = load512(tile + kRows * (int64_t)index[3]);
  const __m512i low01 = _mm512_unpacklo_epi8(a0, a1), low23 = _mm512_unpacklo_epi8(a2, a3);
  const __m512i high01 = _mm512_unpackhi_epi8(a0, a1), high23 = _mm512_unpackhi_epi8(a2, a3);
  const __m512i group[4] = {
      _mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
      _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)};
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) {
    const __m512i b = _mm512_set1_epi32(four_bytes(code + 4 * j));
    OCTAVO_UNROLL
    for (int v = 0; v < 4; ++v) sum[j][v] = _mm512_dpbusd_epi32(sum[j][v], group[v], b);
  }
}

// The sums of the four columns of a block row for 64 rows.
static inline void four_columns_64(const BroadcastBsr4x1S8Args& args, int s,
                                   int32_t (*out)[kRows]) {
  __m512i sum[4][4];
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) {
    OCTAVO_UNROLL
    for (int v = 0; v < 4; ++v) sum[j][v] = _mm512_setzero_si512();
  }
  const uint32_t end = args.b.first[s + 1];
  for (uint32_t t = args.b.first[s]; t < end; ++t) {
    add_unit(args.tile, args.b.index + 4 * (int64_t)t, args.b.code + 16 * (int64_t)t, sum);
  }
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) {
    OCTAVO_UNROLL
    for (int v = 0; v < 4; ++v) _mm512_storeu_si512(out[j] + 16 * v, sum[j][v]);
  }
}

static inline void all_sets_of_64(const BroadcastBsr4x1S8Args& args) {
  for (int s = 0; s < 4 * args.b.panels; s += 2) {
    alignas(64) int32_t sum[8][kRows];
    four_columns_64(args, s, sum);
    four_columns_64(args, s + 1, sum + 4);
    for (int i = 0; i < 8; ++i) {
      const int m = 32 * (i % 2) + 4 * (i / 2);
      if (m >= args.m) continue;
      store_rows<16>(&sum[0][8 * i], kRows, args.m - m, args.c + m * args.c_stride + 4 * s,
                     args.c_stride, args.add);
    }
  }
}

// Block rows of one column have an unpack for every two rows: ymm registers, whose unpacks have two
// ports, are no slower.
static inline void two_halves(BroadcastBsr4x1S8Args args) {
  const int32_t m = args.m;
  args.m = 32;
  broadcast_bsr4x1<kRows>(args);
  args.m = m - 32;
  args.tile += 32;
  args.c += 32 * args.c_stride;
  broadcast_bsr4x1<kRows>(args);
}

}  // namespace

void broadcast_bsr4x1_u8s8s32_64x4x4_avx512vnni(const BroadcastBsr4x1S8Args& args) noexcept {
  if (args.m <= 32) {
    broadcast_bsr4x1<kRows>(args);
  } else if (args.b.outputs == 4) {
    all_sets_of_64(args);
  } else {
    two_halves(args);
  }
}

}  // namespace octavo
