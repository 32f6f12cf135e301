// SPDX-License-Identifier: Apache-2.0
// gemm_codes_s8 on any tier, a block of rows by panels at a time. A tier's file brings its lanes
// and, before this file,
//   kRows, kPanels         of a block
//   Sum first_sum(start), add_products(sum, x, w), I16 finished(sum, start)
//   Codes codes_of(a)      four codes of a row, for all columns
//   Weights weights_of(b)  those of sixteen columns
//   I16 start_of(offset, weight_sum, negative_sum)
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/requantize16.h"
#include "kernels/gemm_codes_s8/kernel.h"

namespace octavo {
namespace {

// What belongs to the columns of a block, zeros behind those that are there.
struct Columns {
  alignas(64) int32_t start[16 * kPanels];
  alignas(64) float multiplier[16 * kPanels];
  int n0, count;
};

static inline void take_columns(const GemmCodesS8Args& args, int n0, int count, Columns& to) {
  to.n0 = n0;
  to.count = count;
  for (int j = 0; j < count; j += 16) {
    const int n = n0 + j, live = count - j < 16 ? count - j : 16;
    store_i(to.start + j,
            start_of(load_i_n(args.offset + n, live), load_i_n(args.weight_sum + n, live),
                     load_i_n(args.negative_sum + n, live)));
    store(to.multiplier + j, load_n(args.multiplier + n, live));
  }
}

// Sums of a block to codes. They come from L1: in registers they would leave none for this, and GCC
// 12 would write them there on every step of k.
struct Tile {
  alignas(64) int32_t sums[kRows][16 * kPanels];
};

OCTAVO_NOINLINE static void put_codes(const GemmCodesS8Args& args, const Tile& tile, int m,
                                      int rows, const Columns& columns) {
  const CodeRange range = code_range(args.low, args.high, args.zero_point);
  const int64_t stride = args.out_stride;
  for (int j = 0; j < columns.count; j += 16) {
    int8_t* out = args.out + m * stride + columns.n0 + j;
    const int live = columns.count - j;
    const F16 multiplier = load(columns.multiplier + j);
    const auto sum = [&](int i) { return load_i(tile.sums[i] + j); };
    int i = 0;
    for (; i + 4 <= rows && live >= 16; i += 4) {
      store_sixteens(out + i * stride, stride,
                     requantized(sum(i), multiplier, sum(i + 1), multiplier, sum(i + 2), multiplier,
                                 sum(i + 3), multiplier, range));
    }
    for (; i < rows; ++i) {
      store_s8_n(out + i * stride, requantized(sum(i), multiplier, range), live < 16 ? live : 16);
    }
  }
}

// Rows [m, m + Rows) times `Panels`.
template <int Rows, int Panels>
static inline void block(const GemmCodesS8Args& args, int m, const Columns& columns) {
  const int8_t* a = args.a + m * args.a_stride;
  const int8_t* b = args.b + columns.n0 / 16 * args.b_panel_stride;
  Sum sum[Rows][Panels];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) sum[i][j] = first_sum(load_i(columns.start + 16 * j));
  }
  for (int g = 0; g < args.k_groups; ++g, a += 4, b += 64) {
    Weights w[Panels];
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) w[j] = weights_of(b + j * args.b_panel_stride);
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const Codes x = codes_of(a + i * args.a_stride);
      OCTAVO_UNROLL
      for (int j = 0; j < Panels; ++j) sum[i][j] = add_products(sum[i][j], x, w[j]);
    }
  }
  Tile tile;
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      store_i(tile.sums[i] + 16 * j, finished(sum[i][j], load_i(columns.start + 16 * j)));
    }
  }
  put_codes(args, tile, m, Rows, columns);
}

// All rows; the last ones of a call may be computed twice.
template <int Panels>
static inline void panels(const GemmCodesS8Args& args, const Columns& columns) {
  constexpr int kHalf = (kRows + 1) / 2;
  int m = 0;
  for (; m + kRows <= args.m; m += kRows) block<kRows, Panels>(args, m, columns);
  if (args.m - m > kHalf && args.m >= kRows) {
    block<kRows, Panels>(args, args.m - kRows, columns);
  } else if (args.m > m && args.m >= kHalf) {
    if (args.m - m > kHalf) block<kHalf, Panels>(args, m, columns);
    block<kHalf, Panels>(args, args.m - kHalf, columns);
  } else {
    for (; m < args.m; ++m) block<1, Panels>(args, m, columns);
  }
}

static inline void gemm_codes(const GemmCodesS8Args& given) {
  const GemmCodesS8Args args = given;  // a store may change what a reference leads to
  Columns columns;
  int n0 = 0;
  while (n0 < args.n) {
    const int left = (args.n - n0 + 15) / 16;
    const int taken = kPanels == 3 && left == 4 ? 2 : left < kPanels ? left : kPanels;
    take_columns(args, n0, args.n - n0 < 16 * taken ? args.n - n0 : 16 * taken, columns);
    if (taken == kPanels) {
      panels<kPanels>(args, columns);
    } else if constexpr (kPanels == 3) {
      taken == 1 ? panels<1>(args, columns) : panels<2>(args, columns);
    }
    n0 += 16 * taken;
  }
}

}  // namespace
}  // namespace octavo
