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
  int32_t units;
  int32_t live;  // channels that there are
  I16 start;
  F16 multiplier;
  CodeRange range;
};

static inline void interleave_some(const int8_t* const* p, int live, uint8_t* x) {
  if (live == 16) return interleave(p, x);
  int8_t copy[kRowsOfUnit][16] = {};
  const int8_t* whole[kRowsOfUnit];
  for (int t = 0; t < kRowsOfUnit; ++t) {
    memcpy(copy[t], p[t], (size_t)live);
    whole[t] = copy[t];
  }
  interleave(whole, x);
}

// Unit u of every column that the outputs read; units of a column lie side by side.
static inline void interleave_columns(const DepthwiseS8Args& args, int64_t channel, int live,
                                      int units, int u) {
  const int8_t *border[kRowsOfUnit], *p[kRowsOfUnit];
  int64_t step[kRowsOfUnit];
  for (int t = 0; t < kRowsOfUnit; ++t) {
    const int i = u * kRowsOfUnit + t;
    const int8_t* row = args.rows[i < args.window_rows ? i : args.window_rows - 1];
    border[t] = args.padding + channel;
    p[t] = row == nullptr ? border[t] : row + channel;
    step[t] = row == nullptr ? 0 : args.channels;
  }
  const int64_t span =
      depthwise_span(args.out_width, args.kernel_w, args.stride_w, args.dilation_w);
  const int64_t left = args.left < span ? args.left : span;
  const int64_t right = left + args.width < span ? left + args.width : span;
  uint8_t* x = args.scratch + 64 * u;
  int64_t column = 0;
  for (; column < left; ++column, x += 64 * units) interleave_some(border, live, x);
  for (; column < right; ++column, x += 64 * units) {
    interleave_some(p, live, x);
    for (int t = 0; t < kRowsOfUnit; ++t) p[t] += step[t];
  }
  for (; column < span; ++column, x += 64 * units) interleave_some(border, live, x);
}

// Outputs [q, q + Columns) of rows [r, r + Rows).
template <int Rows, int Columns>
static OCTAVO_INLINE void outputs(const DepthwiseS8Args& args, const Block& block, int r, int q,
                                  int8_t* out) {
  const int64_t column_bytes = 64 * block.units, x_step = args.stride_w * column_bytes;
  const int64_t gap = (args.dilation_w - 1) * column_bytes;
  const uint8_t* x = args.scratch + q * x_step;
  const int8_t* w = block.weights + r * args.row_bytes;
  const int64_t w_step = (args.window_rows + 3) / 4 * 64;
  Sum sum[Rows][Columns];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int c = 0; c < Columns; ++c) sum[i][c] = first_sum(block.start);
  }
  for (int j = 0; j < args.kernel_w; ++j, x += gap, w += w_step) {
    for (int u = 0; u < block.units; ++u, x += 64) {
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const UnitWeights weights = weights_of(w + i * args.row_bytes, u);
        OCTAVO_UNROLL
        for (int c = 0; c < Columns; ++c) {
          sum[i][c] = add_products(sum[i][c], x + c * x_step, weights);
        }
      }
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int c = 0; c < Columns; ++c) {
      const I16 code = requantized(finished(sum[i][c], block.start), block.multiplier, block.range);
      int8_t* to = out + (r + i) * args.out_stride + (q + c) * args.channels;
      if (block.live == 16) {
        store_s8(to, code);
      } else {
        store_s8_n(to, code, block.live);
      }
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
  block.range = {set1(args.low), set1(args.high), set1_i(args.zero_point)};
  block.weights = args.weights;
  block.live = args.channels < 16 ? (int)args.channels : 16;
  for (int64_t first = 0; first < args.channels; first += 16) {
    const int64_t channel = first + block.live < args.channels ? first : args.channels - block.live;
    for (int u = 0; u < block.units; ++u) {
      interleave_columns(args, channel, block.live, block.units, u);
    }
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
