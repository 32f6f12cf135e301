// SPDX-License-Identifier: Apache-2.0
// attention_block by dot products of lanes: each needs a broadcast of a key's or a query's group.
// A tier's file includes its code groups first.
//
// Cycles for 16 queries, a key and a head of 32 (Zen 5, AVX-512, 512 keys): scores 7, of which dot
// products at their peak 4, since each needs a broadcast from L1; exponentials 6, eight operations
// on the two multipliers among them; codes 1, sums of values 4, their peak.
#pragma once
#include "kernels/attention_block/weights16.h"

namespace octavo {
namespace {

// Sums in registers at once: of scores those of so many keys, of outputs those of so many queries
// by sixteen columns. Both divide 16.
constexpr int kKeysAtOnce = kLaneRegisters == 1 ? 16 : 4;
constexpr int kQueriesAtOnce = kLaneRegisters == 1 ? 8 : 4;
constexpr int kPanelsAtOnce = kLaneRegisters == 1 ? 2 : 1;

// Keys whose scores are scaled before the next ones' are computed.
constexpr int kKeysInSequence = 32;
// Where keys are few, so many tiles go through each step together: one does not wait for another.
constexpr int kTilesTogether = 2;
constexpr int kFewKeys = 48;

// Sums go straight to memory: GCC keeps those that are computed with afterwards there all along.
template <int Keys>
static inline void score_keys(const AttentionBlockArgs& args, const Tile& tile, int j) {
  const int groups = (args.d + kGroupCodes - 1) / kGroupCodes;
  const int32_t* key = args.keys + j / 16 * args.key_stride + j % 16;
  const int32_t* start = args.key_start + j;
  const int32_t* query = tile.queries;
  int32_t* out = (int32_t*)tile.work + 16 * (int64_t)j;
  I16 score[Keys];
  OCTAVO_UNROLL
  for (int k = 0; k < Keys; ++k) score[k] = set1_i(kQueryOffset != 0 ? start[k] : 0);
  for (int g = 0; g < groups; ++g, key += 16, query += 16) {
    const I16 q = load_i(query);
    OCTAVO_UNROLL
    for (int k = 0; k < Keys; ++k) score[k] = dot(score[k], q, set1_i(key[k]));
  }
  OCTAVO_UNROLL
  for (int k = 0; k < Keys; ++k) store_i(out + 16 * k, score[k]);
}

// Scores of some keys to work.
static inline void put_scores(const AttentionBlockArgs& args, const Tile& tile, int j, int end) {
  for (; j + kKeysAtOnce <= end; j += kKeysAtOnce) {
    score_keys<kKeysAtOnce>(args, tile, j);
  }
  for (; j + 4 <= end; j += 4) score_keys<4>(args, tile, j);
  for (; j < end; ++j) score_keys<1>(args, tile, j);
}

// z to work, and top.
template <bool Biased>
static inline void score(const AttentionBlockArgs& args, Tile& tile) {
  F16 most = set1(-INFINITY);
  for_keys(tile, [&](int j, int end, const auto& lanes) {
    for (; j < end; j += kKeysInSequence) {
      const int stop = end - j < kKeysInSequence ? end : j + kKeysInSequence;
      put_scores(args, tile, j, stop);
      most = scale_scores<Biased>(args, tile, j, stop, lanes, most);
    }
  });
  tile.top = most;
  if (Biased) tile.factor = set1(1.0f);
}

// Where sums of sixteen columns begin, so that weights of 0 leave 0.
static inline I16 start_of_sums(const int32_t* values, int groups) {
  I16 lost = set1_i(0);
  for (int g = 0; kSignedWeights && g < groups; ++g) {
    lost = dot(lost, set1_i(0), load_i(values + 16 * g));
  }
  return sub_i(set1_i(0), lost);
}

template <int Queries, int Panels>
static inline void sum_values(const AttentionBlockArgs& args, const int32_t* weights,
                              const int32_t* values, int groups, const I16* start, int32_t* out) {
  const int64_t stride = (args.d + 15) / 16 * 16, panel = args.value_stride;
  I16 sum[Queries][Panels];
  OCTAVO_UNROLL
  for (int i = 0; i < Queries; ++i) {
    OCTAVO_UNROLL
    for (int c = 0; c < Panels; ++c) sum[i][c] = start[c];
  }
  for (int g = 0; g < groups; ++g, weights += 16, values += 16) {
    I16 v[Panels];
    OCTAVO_UNROLL
    for (int c = 0; c < Panels; ++c) v[c] = load_i(values + c * panel);
    OCTAVO_UNROLL
    for (int i = 0; i < Queries; ++i) {
      const I16 weight = set1_i(weights[i]);
      OCTAVO_UNROLL
      for (int c = 0; c < Panels; ++c) sum[i][c] = dot(sum[i][c], weight, v[c]);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Queries; ++i) {
    OCTAVO_UNROLL
    for (int c = 0; c < Panels; ++c) store_i(out + i * stride + 16 * c, sum[i][c]);
  }
}

template <int Panels>
static inline void sum_rows(const AttentionBlockArgs& args, const int32_t* weights,
                            const int32_t* values, int groups, int rows, int32_t* out) {
  const int64_t stride = (args.d + 15) / 16 * 16;
  I16 start[Panels];
  for (int c = 0; c < Panels; ++c) start[c] = start_of_sums(values + c * args.value_stride, groups);
  int i = 0;
  for (; i + 4 < rows; i += kQueriesAtOnce) {
    sum_values<kQueriesAtOnce, Panels>(args, weights + i, values, groups, start, out + i * stride);
  }
  if (i < rows) sum_values<4, Panels>(args, weights + i, values, groups, start, out + i * stride);
}

static inline void sum_columns(const AttentionBlockArgs& args, const Tile& tile, int m) {
  const auto* weights = (const int32_t*)tile.work + 16 * (int64_t)tile.from;
  const int panels = (args.d + 15) / 16, rows = args.m - m < 16 ? args.m - m : 16;
  const int groups = (tile.to - tile.from + 3) / 4 * (4 / kGroupCodes);
  const int32_t* values = args.values + tile.from / kGroupCodes * 16;
  int32_t* out = args.sums + m * (int64_t)panels * 16;
  int c = 0;
  for (; c + kPanelsAtOnce <= panels; c += kPanelsAtOnce) {
    sum_rows<kPanelsAtOnce>(args, weights, values + c * args.value_stride, groups, rows,
                            out + 16 * c);
  }
  if (c < panels) {
    sum_rows<1>(args, weights, values + c * args.value_stride, groups, rows, out + 16 * c);
  }
}

template <bool Biased>
static inline void attend(const AttentionBlockArgs& args, int m, int together) {
  const int64_t apart = kTotals + 16 * (int64_t)((args.n + 3) / 4 * 4);
  Tile tiles[kTilesTogether];
  for (int t = 0; t < together; ++t) {
    tiles[t] = make_tile(args, m + 16 * t, args.work + t * apart);
    score<Biased>(args, tiles[t]);
  }
  for (int t = 0; t < together; ++t) weigh(args, tiles[t]);
  for (int t = 0; t < together; ++t) put_weights(tiles[t]);
  for (int t = 0; t < together; ++t) {
    store(args.top + m + 16 * t, tiles[t].top);
    store(args.sum + m + 16 * t, tiles[t].sum);
    store(args.largest + m + 16 * t, tiles[t].largest);
    sum_columns(args, tiles[t], m + 16 * t);
  }
}

static inline void attention_block(const AttentionBlockArgs& args) {
  const int most = args.n <= kFewKeys ? kTilesTogether : 1;
  for (int m = 0; m < args.m; m += 16 * most) {
    const int left = (args.m - m + 15) / 16, together = left < most ? left : most;
    if (args.bias != nullptr) {
      attend<true>(args, m, together);
    } else {
      attend<false>(args, m, together);
    }
  }
}

}  // namespace
}  // namespace octavo
