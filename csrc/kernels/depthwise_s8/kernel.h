// SPDX-License-Identifier: Apache-2.0
// Kernel family depthwise_s8: a strip of output rows of an int8 convolution that has a filter for
// each channel, of any size, stride and dilation.
//
//   s = offset[c] + sum of x(r, i, q * stride_w + j * dilation_w - left, c) * w(i, j, c)
//   out[r][q][c] = the code of s, as requantize makes it (kernels/requantize/kernel.h)
//
// x is a code of the window, the input rows that the strip reads: that of column `column` of row i
// is rows[i][column * channels + c]. Where rows[i] is null, or the column is none of the `width`
// that there are, it is padding[c]: an image needs no border of its own.
//
// Weights (weights/depthwise.h packs them), sixteen channels at a time: block b has those from 16 b
// on, the last one the last sixteen, which may be the previous one's as well. Of a block
//
//   | output row 0 of the strip: kernel_w x units x 64 bytes | output row 1 | ...
//
// in which byte 4 l + t of unit u of kernel column j belongs to channel l and row 4 u + t of the
// window: rows that an output row does not read are zeros. So neighbouring output rows share what
// is loaded and interleaved.
//
// All arrays may end exactly at their last channel.
#pragma once
#include <stdint.h>

namespace octavo {

struct DepthwiseS8Args {
  const int8_t* const* rows;  // window_rows
  int32_t window_rows;
  int32_t width;          // columns of rows
  const int8_t* padding;  // channels codes
  int64_t channels;

  const int8_t* weights;
  int64_t row_bytes;    // of an output row of a block
  int64_t block_bytes;  // from block to block
  int32_t kernel_w, stride_w, dilation_w;
  int32_t left;  // columns of padding

  const int32_t* offset;
  const int32_t* weight_sum;  // modulo 2^32
  const float* multiplier;
  float low, high;  // as requantize has them
  int32_t zero_point;

  uint8_t* scratch;  // depthwise_scratch_bytes, aligned to 64
  int32_t out_rows;  // of the strip's, or fewer
  int32_t out_width;
  int8_t* out;
  int64_t out_stride;  // from row to row
};

// Columns, those of padding included, that `out_width` outputs read.
constexpr int64_t depthwise_span(int64_t out_width, int64_t kernel_w, int64_t stride_w,
                                 int64_t dilation_w) {
  return (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1;
}

// Sixteen channels of every column, pairs of rows interleaved as int16.
constexpr int64_t depthwise_scratch_bytes(int64_t window_rows, int64_t span) {
  return (window_rows + 1) / 2 * span * 64;
}

}  // namespace octavo
