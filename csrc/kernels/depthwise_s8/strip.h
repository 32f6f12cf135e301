// SPDX-License-Identifier: Apache-2.0
// depthwise_s8 on any tier, sixteen channels at a time. First the columns of the window are
// interleaved, each once: neighbours among the rows become neighbours in memory, as a dot product
// wants them. Then each output is a few products of what lies there with weights.
//
// A tier's file brings its lanes and, before this file,
//   kRowsOfUnit            rows that one dot product adds up: 4, or 2
//   kOutputs               outputs of a row at once, kStrip rows of outputs
//   interleave(p, x)       sixteen channels of so many rows to 64 bytes
//   Sum first_sum(start), add_products(sum, x, w), I16 finished(sum, start)
//   UnitWeights weights_of(w, u)      of unit u behind w
//   I16 start_of(offset, weight_sum)  what sums start from
#pragma once
#include <string.h>

#include "kernels/common/compiler.h"
#include "kernels/common/requantize16.h"
#include "kernels/depthwise_s8/kernel.h"

namespace octavo {
namespace {

// Sixteen channels of a call.
struct Block {
  const int8_t* weights;
  int32_t units;                 // of a column
  int32_t runs;                  // of units of kernel columns that are neighbours
  int32_t run_units;             // of each
  int64_t run_gap, run_weights;  // from the end of a run to the next; from its weights to those
  int32_t live;                  // channels that there are
  I16 start;
  F16 multiplier;
  CodeRange range;
};

// A unit of `count` columns; from one to the next, rows advance by their steps. Fewer channels than
// sixteen are copied first.
OCTAVO_NOINLINE static void interleave_few(const int8_t* const* row, const int64_t* step,
                                           int64_t count, int live, uint8_t* x, int64_t x_step) {
  int8_t copy[kRowsOfUnit][16] = {};
  const int8_t* whole[kRowsOfUnit];
  for (int t = 0; t < kRowsOfUnit; ++t) whole[t] = copy[t];
  for (int64_t i = 0; i < count; ++i, x += x_step) {
    for (int t = 0; t < kRowsOfUnit; ++t) memcpy(copy[t], row[t] + i * step[t], (size_t)live);
    interleave(whole, x);
  }
}

static inline void interleave_sixteen(const int8_t* const* row, const int64_t* step, int64_t count,
                                      uint8_t* x, int64_t x_step) {
  const int8_t* p[kRowsOfUnit];
  OCTAVO_UNROLL
  for (int t = 0; t < kRowsOfUnit; ++t) p[t] = row[t];
  for (int64_t i = 0; i < count; ++i, x += x_step) {
    interleave(p, x);
    OCTAVO_UNROLL
    for (int t = 0; t < kRowsOfUnit; ++t) {
      p[t] += step[t];
      OCTAVO_FORGET(p[t]);  // GCC 12 would add all in a vector, and wait for it
    }
  }
}

// Unit u of every column that the outputs read; units of a column lie side by side.
static inline void interleave_columns(const DepthwiseS8Args& args, int64_t channel,
                                      const Block& block, int u) {
  const int8_t *border[kRowsOfUnit], *row[kRowsOfUnit];
  int64_t still[kRowsOfUnit] = {}, step[kRowsOfUnit];
  for (int t = 0; t < kRowsOfUnit; ++t) {
    const int i = u * kRowsOfUnit + t;
    const int8_t* there = args.rows[i < args.window_rows ? i : args.window_rows - 1];
    border[t] = args.padding + channel;
    row[t] = there == nullptr ? border[t] : there + channel;
    step[t] = there == nullptr ? 0 : args.channels;
  }
  const int64_t span =
      depthwise_span(args.out_width, args.kernel_w, args.stride_w, args.dilation_w);
  const int64_t left = args.left < span ? args.left : span;
  const int64_t inside = args.width < span - left ? args.width : span - left;
  const int64_t x_step = 64 * block.units;
  uint8_t* x = args.scratch + 64 * u;
  const auto put = [&](const int8_t* const* rows, const int64_t* steps, int64_t count) {
    if (block.live == 16) {
      interleave_sixteen(rows, steps, count, x, x_step);
    } else {
      interleave_few(rows, steps, count, block.live, x, x_step);
    }
    x += count * x_step;
  };
  put(border, still, left);
  put(row, step, inside);
  put(border, still, span - left - inside);
}

// Outputs [q, q + Columns) of rows [r, r + Rows).
template <int Rows, int Columns>
static OCTAVO_INLINE void outputs(const DepthwiseS8Args& args, const Block& block, int r, int q,
                                  int8_t* out) {
  const int64_t x_step = 64 * (int64_t)args.stride_w * block.units;
  const uint8_t* x = args.scratch + q * x_step;
  const int8_t* w = block.weights + r * args.row_bytes;
  Sum sum[Rows][Columns];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int c = 0; c < Columns; ++c) sum[i][c] = first_sum(block.start);
  }
  for (int run = 0; run < block.runs; ++run) {
    for (int u = 0; u < block.run_units; ++u, x += 64) {
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const UnitWeights weights = weights_of(w + i * args.row_bytes, u);
        OCTAVO_UNROLL
        for (int c = 0; c < Columns; ++c) {
          sum[i][c] = add_products(sum[i][c], x + c * x_step, weights);
        }
      }
    }
    x += block.run_gap;
    w += block.run_weights;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    int8_t* to = out + (r + i) * args.out_stride + q * args.channels;
    I16 total[Columns];
    OCTAVO_UNROLL
    for (int c = 0; c < Columns; ++c) total[c] = finished(sum[i][c], block.start);
    const F16 by = block.multiplier;
    if constexpr (Columns == 4) {
      if (block.live == 16) {
        store_sixteens(
            to, args.channels,
            requantized(total[0], by, total[1], by, total[2], by, total[3], by, block.range));
        continue;
      }
    }
    OCTAVO_UNROLL
    for (int c = 0; c < Columns; ++c) {
      store_s8_n(to + c * args.channels, requantized(total[c], by, block.range), block.live);
    }
  }
}

// All outputs of rows [r, r + Rows); the last ones of a row may be computed twice.
template <int Rows>
static inline void output_rows(const DepthwiseS8Args& args, const Block& block, int r,
                               int8_t* out) {
  const int last = args.out_width - kOutputs;
  for (int q = 0; last >= 0 && q < args.out_width; q += kOutputs) {
    outputs<Rows, kOutputs>(args, block, r, q < last ? q : last, out);
  }
  for (int q = 0; last < 0 && q < args.out_width; ++q) outputs<Rows, 1>(args, block, r, q, out);
}

static inline void depthwise(const DepthwiseS8Args& given) {
  const DepthwiseS8Args args = given;  // a store may change what a reference leads to
  Block block;
  block.units = (args.window_rows + kRowsOfUnit - 1) / kRowsOfUnit;
  const bool one_run = args.dilation_w == 1 && block.units * kRowsOfUnit % 4 == 0;
  block.runs = one_run ? 1 : args.kernel_w;
  block.run_units = one_run ? args.kernel_w * block.units : block.units;
  block.run_gap = 64 * (int64_t)(args.dilation_w - 1) * block.units;
  block.run_weights = (args.window_rows + 3) / 4 * 64;
  block.range = code_range(args.low, args.high, args.zero_point);
  block.weights = args.weights;
  block.live = args.channels < 16 ? (int)args.channels : 16;
  for (int64_t first = 0; first < args.channels; first += 16) {
    const int64_t channel = first + block.live < args.channels ? first : args.channels - block.live;
    for (int u = 0; u < block.units; ++u) interleave_columns(args, channel, block, u);
    block.start = start_of(load_i_n(args.offset + channel, block.live),
                           load_i_n(args.weight_sum + channel, block.live));
    block.multiplier = load_n(args.multiplier + channel, block.live);
    int r = 0;
    for (; r + kStrip <= args.out_rows; r += kStrip) {
      output_rows<kStrip>(args, block, r, args.out + channel);
    }
    if constexpr (kStrip > 1) {
      for (; r < args.out_rows; ++r) output_rows<1>(args, block, r, args.out + channel);
    }
    block.weights += args.block_bytes;
  }
}

}  // namespace
}  // namespace octavo
