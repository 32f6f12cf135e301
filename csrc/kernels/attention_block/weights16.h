// SPDX-License-Identifier: Apache-2.0
// attention_block between its two products, sixteen queries at a time, one per lane: what belongs
// to a key is a broadcast, and nothing is reduced across lanes. Scores, then weights, then their
// codes take turns in `work`.
#pragma once
#include <math.h>

#include "kernels/attention_block/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/math16.h"

namespace octavo {
namespace {

constexpr int kTotals = 16 * 16;

struct AllLanes {
  F16 operator()(int, F16 a, F16) const { return a; }
};
// Lanes whose query sees the key.
struct SomeLanes {
  F16 first, last;
  F16 operator()(int j, F16 a, F16 other) const {
    const F16 place = set1((float)j);
    return select(not_below(place, first), select(not_below(place, last), other, a), other);
  }
};

// Sixteen queries, and the keys that any of them sees (from a multiple of 16 on), that all see.
struct Tile {
  const int32_t* queries;
  const float* bias;
  // Sums of e by j % 16, and behind them a place per key. Their distance keeps loads of the one
  // from waiting for stores to the other just made at the same place of another page.
  float* totals;
  float* work;
  F16 factor, top, sum, largest;
  SomeLanes seen;
  int from, to, all_from, all_to;
};

static inline Tile make_tile(const AttentionBlockArgs& args, int m, float* work) {
  Tile tile;
  tile.totals = work;
  tile.work = work + kTotals;
  tile.queries = args.queries + m / 16 * args.query_stride;
  tile.bias = args.bias ? args.bias + m / 16 * args.bias_stride : nullptr;
  tile.factor = load(args.factor + m);
  tile.from = tile.all_from = 0;
  tile.to = tile.all_to = args.n;
  if (args.first == nullptr) return tile;
  tile.seen = {to_float(load_i(args.first + m)), to_float(load_i(args.last + m))};
  tile.from = args.n;
  tile.to = 0;
  for (int i = m; i < m + 16; ++i) {
    const int first = args.first[i], last = args.last[i];
    if (first > tile.all_from) tile.all_from = first;
    if (last < tile.all_to) tile.all_to = last;
    if (first >= last) continue;
    if (first < tile.from) tile.from = first;
    if (last > tile.to) tile.to = last;
  }
  tile.from = tile.to == 0 ? 0 : tile.from / 16 * 16;
  tile.all_from = (tile.all_from + 15) / 16 * 16;
  if (tile.all_to < tile.to) tile.all_to = tile.all_to / 16 * 16;
  if (tile.all_from >= tile.all_to) tile.all_from = tile.all_to = tile.to;
  return tile;
}

// step(j0, j1, lanes) for the keys [j0, j1) in order; j0 is a multiple of 16.
template <class Step>
static inline void for_keys(const Tile& tile, const Step& step) {
  if (tile.from < tile.all_from) step(tile.from, tile.all_from, tile.seen);
  if (tile.all_from < tile.all_to) step(tile.all_from, tile.all_to, AllLanes{});
  if (tile.all_to < tile.to) step(tile.all_to, tile.to, tile.seen);
}

// z over scores, and the largest.
template <bool Biased, class Lanes>
static inline F16 scale_scores(const AttentionBlockArgs& args, const Tile& tile, int j, int end,
                               const Lanes& lanes, F16 most) {
  const float* scale = args.key_scale;
  float* place = tile.work + 16 * (int64_t)j;
  for (; j < end; ++j, place += 16) {
    F16 z = mul(to_float(load_i((const int32_t*)place)), set1(scale[j]));
    if (Biased) {
      const F16 bias = load(tile.bias + 16 * (int64_t)j);
      z = fma(z, tile.factor, mul(bias, set1(kLog2E)));
    }
    most = max(lanes(j, z, set1(-INFINITY)), most);
    store(place, z);
  }
  return most;
}

// p over z of some keys, and the largest; First: nothing is in totals yet.
template <bool First, class Lanes>
static inline F16 exponentials(const AttentionBlockArgs& args, const Tile& tile, int j, int end,
                               const Lanes& lanes, F16 most) {
  const float* scale = args.value_scale;
  float* place = tile.work + 16 * (int64_t)j;
  const F16 top = tile.top, factor = tile.factor;
  for (; j < end; ++j, place += 16) {
    const F16 e = lanes(j, exp2_scaled16(sub(load(place), top), factor), set1(0.0f));
    const F16 p = mul(e, set1(scale[j]));
    float* total = tile.totals + j % 16 * 16;
    store(total, First ? e : add(load(total), e));
    most = max(p, most);
    store(place, p);
  }
  return most;
}

// p over z; sum and largest.
static inline void weigh(const AttentionBlockArgs& args, Tile& tile) {
  const int first_end = tile.to - tile.from < 16 ? tile.to : tile.from + 16;
  for (int l = first_end - tile.from; l < 16; ++l) store(tile.totals + 16 * l, set1(0.0f));
  F16 most = set1(0.0f);
  for_keys(tile, [&](int j, int end, const auto& lanes) {
    const int stop = end < first_end ? end : first_end;
    most = exponentials<true>(args, tile, j, stop, lanes, most);
    most = exponentials<false>(args, tile, j < stop ? stop : j, end, lanes, most);
  });
  F16 sum[8];
  OCTAVO_UNROLL
  for (int l = 0; l < 8; ++l) {
    sum[l] = add(load(tile.totals + 16 * l), load(tile.totals + 16 * (l + 8)));
  }
  OCTAVO_UNROLL
  for (int l = 0; l < 4; ++l) sum[l] = add(sum[l], sum[l + 4]);
  tile.sum = add(add(sum[0], sum[2]), add(sum[1], sum[3]));
  const M16 counts = not_below(most, set1(kSmallestWeight));
  tile.largest = select(is_nan(tile.sum), set1(0.0f), keep(counts, most));
}

// Codes over p, up to a multiple of 4 keys.
static inline void put_weights(const Tile& tile) {
  const float* p = tile.work + 16 * (int64_t)tile.from;
  auto* out = (int32_t*)p;
  const int keys = tile.to - tile.from;
  for (int j = keys; j % 4 != 0; ++j) store(tile.work + 16 * (int64_t)(tile.from + j), set1(0.0f));
  const M16 none = not_below(set1(0.0f), tile.largest);
  const F16 factor = select(none, set1(0.0f), div(set1(255.0f), tile.largest));
  for (int j = 0; j < keys; j += 4) {
    I16 codes[4];
    OCTAVO_UNROLL
    for (int k = 0; k < 4; ++k, p += 16) codes[k] = to_int_checked(mul(load(p), factor));
    OCTAVO_UNROLL
    for (int k = 0; k < 4; k += kGroupCodes, out += 16) store_i(out, weight_groups(codes + k));
  }
}

}  // namespace
}  // namespace octavo
