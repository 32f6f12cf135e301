// SPDX-License-Identifier: Apache-2.0
// attention_block for AMX (tdpbssd, tdpbusd). Scores are tiles of 16 keys x 16 queries, of the rows
// of codes that keys have here; sums are tiles of 16 queries x 16 columns, of weights transposed to
// rows. Between the two everything goes as in other tiers.
//
// Not measured: it has only run emulated. Going from tiles to vectors and back takes half a
// microsecond on a Xeon, so sixty-four queries take each step together.
#include "kernels/common/code_groups_avx512vnni.h"

#include "kernels/attention_block/weights16.h"
#include "kernels/common/amx_config.h"

namespace octavo {
namespace {

// Tiles 0-3 hold sums; 4 and 5 are operands of 64 codes along the product, 6 and 7 of the `tail`
// codes that are left, a multiple of 16; 4 and 6 on the left.
static inline void configure(int tail) {
  AmxConfig config;
  if (tail > 0) {
    config.bytes_per_row[6] = (uint16_t)tail;
    config.rows[7] = (uint8_t)(tail / 4);
  }
  configure_tiles(config);
}

static inline int up_to_16(int n) { return (n + 15) / 16 * 16; }

// Tile numbers must be literals, hence macros. Of `count` tiles of sums, each:
#define OCTAVO_EACH_TILE(count, DO) \
  DO(0);                            \
  if ((count) > 1) {                \
    DO(1);                          \
  }                                 \
  if ((count) > 2) {                \
    DO(2);                          \
  }                                 \
  if ((count) > 3) {                \
    DO(3);                          \
  }

#define OCTAVO_SCORE_64(t)                     \
  _tile_loadd(4, keys + (t) * panel + e, row); \
  _tile_dpbssd(t, 4, 5)
#define OCTAVO_SCORE_TAIL(t)                   \
  _tile_loadd(6, keys + (t) * panel + e, row); \
  _tile_dpbssd(t, 6, 7)
#define OCTAVO_STORE_SCORES(t) _tile_stored(t, out + 256 * (t), 64)

// Scores of `count` panels of sixteen keys to work.
static inline void score_panels(const AttentionBlockArgs& args, const Tile& tile, int j,
                                int count) {
  const int row = up_to_16(args.d);
  const auto* keys = (const int8_t*)(args.keys + j / 16 * args.key_stride);
  const auto* queries = (const int8_t*)tile.queries;
  const int64_t panel = 4 * args.key_stride;
  int32_t* out = (int32_t*)tile.work + 16 * (int64_t)j;
  OCTAVO_EACH_TILE(count, _tile_zero)
  int e = 0;
  for (; e + 64 <= row; e += 64) {
    _tile_loadd(5, queries + 16 * e, 64);
    OCTAVO_EACH_TILE(count, OCTAVO_SCORE_64)
  }
  if (e < row) {
    _tile_loadd(7, queries + 16 * e, 64);
    OCTAVO_EACH_TILE(count, OCTAVO_SCORE_TAIL)
  }
  OCTAVO_EACH_TILE(count, OCTAVO_STORE_SCORES)
}

#define OCTAVO_SUM_64(t)                            \
  _tile_loadd(5, values + (t) * panel + 4 * j, 64); \
  _tile_dpbusd(t, 4, 5)
#define OCTAVO_SUM_TAIL(t)                          \
  _tile_loadd(7, values + (t) * panel + 4 * j, 64); \
  _tile_dpbusd(t, 6, 7)
#define OCTAVO_STORE_SUMS(t) _tile_stored(t, out + 16 * (t), row)

// Sums of `count` panels of sixteen columns, over a multiple of sixteen keys.
static inline void sum_panels(const AttentionBlockArgs& args, const int8_t* weights,
                              const int32_t* values, int keys, int count, int32_t* out) {
  const int64_t panel = args.value_stride, row = 4 * up_to_16(args.d);
  OCTAVO_EACH_TILE(count, _tile_zero)
  int j = 0;
  for (; j + 64 <= keys; j += 64) {
    _tile_loadd(4, weights + 16 * j, 64);
    OCTAVO_EACH_TILE(count, OCTAVO_SUM_64)
  }
  if (j < keys) {
    _tile_loadd(6, weights + 16 * j, 64);
    OCTAVO_EACH_TILE(count, OCTAVO_SUM_TAIL)
  }
  OCTAVO_EACH_TILE(count, OCTAVO_STORE_SUMS)
}

// z over scores, and top.
template <bool Biased>
static inline void scale(const AttentionBlockArgs& args, Tile& tile) {
  F16 most = set1(-INFINITY);
  for_keys(tile, [&](int j, int end, const auto& lanes) {
    most = scale_scores<Biased>(args, tile, j, end, lanes, most);
  });
  tile.top = most;
  if (Biased) tile.factor = set1(1.0f);
}

// Sixteen vectors of groups, one group of each query, become sixteen rows of a query's groups.
static inline void transpose_groups(int32_t* groups) {
  __m512i g[16];
  OCTAVO_UNROLL
  for (int i = 0; i < 16; ++i) g[i] = load_i(groups + 16 * i).v;
  OCTAVO_UNROLL
  for (int i = 0; i < 16; i += 4) {
    const __m512i low01 = _mm512_unpacklo_epi32(g[i], g[i + 1]);
    const __m512i high01 = _mm512_unpackhi_epi32(g[i], g[i + 1]);
    const __m512i low23 = _mm512_unpacklo_epi32(g[i + 2], g[i + 3]);
    const __m512i high23 = _mm512_unpackhi_epi32(g[i + 2], g[i + 3]);
    store_lanes_apart(groups + i, 64, _mm512_unpacklo_epi64(low01, low23));
    store_lanes_apart(groups + 16 + i, 64, _mm512_unpackhi_epi64(low01, low23));
    store_lanes_apart(groups + 32 + i, 64, _mm512_unpacklo_epi64(high01, high23));
    store_lanes_apart(groups + 48 + i, 64, _mm512_unpackhi_epi64(high01, high23));
  }
}

// The codes of put_weights as tiles: of 64 keys, a row for each query, with zeros behind the last.
static inline void put_weight_rows(const Tile& tile) {
  auto* groups = (int32_t*)tile.work + 16 * (int64_t)tile.from;
  const int count = (tile.to - tile.from + 3) / 4;
  for (int g = count; g % 16 != 0; ++g) store_i(groups + 16 * g, set1_i(0));
  for (int g = 0; g < count; g += 16) transpose_groups(groups + 16 * g);
}

static inline void score_tile(const AttentionBlockArgs& args, const Tile& tile) {
  for (int j = tile.from; j < tile.to; j += 64) {
    const int left = (tile.to - j + 15) / 16;
    score_panels(args, tile, j, left < 4 ? left : 4);
  }
}

static inline void sum_columns(const AttentionBlockArgs& args, const Tile& tile, int m) {
  const auto* weights = (const int8_t*)(tile.work + 16 * (int64_t)tile.from);
  const int keys = up_to_16(tile.to - tile.from), panels = up_to_16(args.d) / 16;
  const int32_t* values = args.values + 4 * tile.from;
  int32_t* out = args.sums + m * (int64_t)panels * 16;
  for (int c = 0; c < panels; c += 4) {
    sum_panels(args, weights, values + c * args.value_stride, keys, panels - c < 4 ? panels - c : 4,
               out + 16 * c);
  }
}

template <bool Biased>
static inline void attend(const AttentionBlockArgs& args, int m, int together) {
  const int64_t apart = kTotals + 16 * (int64_t)up_to_16(args.n);
  Tile tiles[kBlockTiles];
  configure(up_to_16(args.d) % 64);
  for (int t = 0; t < together; ++t) {
    tiles[t] = make_tile(args, m + 16 * t, args.work + t * apart);
    score_tile(args, tiles[t]);
  }
  for (int t = 0; t < together; ++t) {
    scale<Biased>(args, tiles[t]);
    weigh(args, tiles[t]);
    put_weights(tiles[t]);
    put_weight_rows(tiles[t]);
    store(args.top + m + 16 * t, tiles[t].top);
    store(args.sum + m + 16 * t, tiles[t].sum);
    store(args.largest + m + 16 * t, tiles[t].largest);
  }
  OCTAVO_WRITTEN(args.work);
  for (int t = 0, configured = -1; t < together; ++t) {
    const int tail = up_to_16(tiles[t].to - tiles[t].from) % 64;
    if (tail != configured) configure(tail);
    configured = tail;
    sum_columns(args, tiles[t], m + 16 * t);
  }
}

}  // namespace

void attention_block_s32_amx_int8(const AttentionBlockArgs& args) noexcept {
  for (int m = 0; m < args.m; m += 16 * kBlockTiles) {
    const int left = (args.m - m + 15) / 16, together = left < kBlockTiles ? left : kBlockTiles;
    if (args.bias != nullptr) {
      attend<true>(args, m, together);
    } else {
      attend<false>(args, m, together);
    }
  }
  _tile_release();
}

}  // namespace octavo
